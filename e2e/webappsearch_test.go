package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Words that only the texts of notes have are found, also in what has just been typed or has come
// from elsewhere, once all texts were asked for.
func TestWebAppSearch(t *testing.T) {
	t.Parallel()
	long(t, "Chromium")
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	const count = 700 // more than one page of changes
	id := ""
	for i := range count {
		id = c.create(fmt.Sprintf("Note %d", i), strings.Repeat("much text in front of it ", 12)+fmt.Sprintf("needle%dx", i))
	}
	b := newBrowser(t, p)
	b.sign()
	b.open("/#account")
	b.click("Fetch all notes")
	b.until("all texts", `document.body.textContent.includes("All notes are on this device.")`)
	b.open("/")
	b.shows(".row")
	search := func(text string, found int) {
		t.Helper()
		b.press(kb.Escape + "/")
		b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#search").select()`))
		b.press(text)
		b.until(fmt.Sprintf("%d notes with %s", found, text), fmt.Sprintf(`(document.querySelector(".row")?.ariaSetSize ?? "0") === "%d"`, found))
	}
	search("needle5x", 1)
	search("NEEDLE69", 11) // 69, and 690 to 699
	search("needle69 front", 11)
	search("needle69 absent", 0)
	c.call(http.MethodPatch, "/api/notes/"+id, map[string]any{"content": strings.Repeat("other text ", 30) + "haystack"}).want(http.StatusOK)
	search("haystack", 1)
	b.press(kb.Enter)
	b.shows(".rich-editor")
	b.toEnd()
	b.press(" with straw")
	b.saved()
	search("straw", 1)
	b.quiet()
}
