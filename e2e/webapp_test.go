package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"notesd/internal/testserver"
)

// A browser is one with the web app of a server, behind a network that can be cut.
type browser struct {
	*tab
	network *testserver.Proxy
}

// newBrowser opens the web app.
func newBrowser(t *testing.T, p *process) *browser {
	t.Helper()
	b := &browser{openTab(t), testserver.NewProxy(t, p.url)}
	b.open("/")
	b.do(chromedp.WaitVisible("form"))
	return b
}

// open goes to a path of the server.
func (b *browser) open(path string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(1200, 800), chromedp.Navigate(b.network.URL()+path))
}

// sign fills the form with an account, and returns when the list is there.
func (b *browser) sign() {
	b.t.Helper()
	b.do(chromedp.SendKeys("[name=email]", "ada@example.com"), chromedp.SendKeys("[name=password]", password+kb.Enter),
		chromedp.WaitVisible(".row"))
}

// press presses keys wherever the keyboard is.
func (b *browser) press(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// quiet fails the test if the console has an error. Being signed out is none, nor is being offline.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.errors {
		if !strings.Contains(e, "401 (Unauthorized)") && !strings.Contains(e, "409 (Conflict)") && !strings.Contains(e, "net::ERR_") {
			b.t.Errorf("the console has %s", e)
		}
	}
}

// Each view in both schemes, on a phone and at a desk: axe finds nothing, and nothing is wider than the screen.
func TestWebAppAccess(t *testing.T) {
	t.Parallel()
	long(t, "four looks at each view")
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	for i := range 30 {
		c.post("/api/notes", map[string]any{"title": fmt.Sprintf("Note %d", i), "content": "# One\n\n- [ ] two\n- [x] three\n\n[four](https://example.com)",
			"tags": []string{"home", fmt.Sprintf("tag %d", i)}, "isPinned": i == 3, "color": "#e5484d"}).want(http.StatusCreated)
	}
	b := newBrowser(t, p)
	look := func(view string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{320, 1200} {
				b.look(scheme, width)
				name := fmt.Sprintf("%s, %s, %d pixels wide", view, scheme, width)
				b.do(chromedp.Sleep(200 * time.Millisecond))
				b.axe(name)
				if wide := find(b.tab, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); wide > width {
					t.Errorf("%s: the page is %d pixels wide", name, wide)
				}
			}
		}
	}
	look("signing in")
	b.sign()
	look("the list")
	b.press("?")
	b.do(chromedp.WaitVisible("dialog"))
	look("the help")
	b.press(kb.Escape)
	b.do(chromedp.WaitNotPresent("dialog"), chromedp.Click(".row a"), chromedp.WaitReady(".rich-editor"))
	look("a note")
	b.press("v")
	b.do(chromedp.WaitReady(".rendered h1"))
	look("the preview")
	b.open("/#account")
	b.do(chromedp.WaitVisible(".part"), chromedp.Sleep(time.Second))
	look("the account")
	b.quiet()
}
