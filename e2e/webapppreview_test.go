package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A box that is ticked in the preview is ticked in the text, by mouse and by keyboard, also behind much text and in front
// of what others have written meanwhile. What is pasted HTML in a note can't tick anything.
func TestWebAppTicks(t *testing.T) {
	t.Parallel()
	long(t, "Chromium")
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	prose := strings.Repeat("Some *words* of prose.\n\n", 300)
	text := "# Tasks\n\n<input type=checkbox>\n\n" + prose + "- [ ] milk\n- [x] bread\n\n```\n- [ ] no box\n```\n"
	id := c.create("Tasks", text)
	b := newBrowser(t, p)
	b.sign()
	b.open("/n/" + id)
	b.do(chromedp.WaitReady(".rich-editor"))
	b.press("v")
	b.until("the boxes", `document.querySelectorAll(".rendered input").length === 3`)
	const tick = `document.querySelectorAll(".rendered input:not([disabled])")[%d].%s()`
	run := func(script string) { b.do(chromedp.Evaluate[chromedp.Void](script)) }
	run(fmt.Sprintf(tick, 0, "click"))
	text = strings.Replace(text, "[ ] milk", "[x] milk", 1)
	awaitContent(t, c, "Tasks", text)
	b.until("the tick", `document.querySelectorAll(".rendered input:checked").length === 2`)
	run(fmt.Sprintf(tick, 1, "focus"))
	b.press(" ")
	text = strings.Replace(text, "[x] bread", "[ ] bread", 1)
	awaitContent(t, c, "Tasks", text)
	b.until("the focus on the box", `document.activeElement.matches(".rendered input:not(:checked)")`)
	b.toEnd()
	b.press("end")
	run(fmt.Sprintf(tick, 0, "click")) // before the preview has what was typed
	text = strings.Replace(text, "[x] milk", "[ ] milk", 1) + "end"
	awaitContent(t, c, "Tasks", text)
	b.press(kb.Escape)
	b.until("all pieces as the text has them", `document.querySelectorAll(".rendered p").length === 301 && document.querySelectorAll(".rendered input:checked").length === 0`)
	b.quiet()
}
