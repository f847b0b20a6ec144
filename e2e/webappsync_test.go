package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"notesd/internal/testserver"
)

// What is typed in the web app is on the server after a pause. Without a network it is kept, also over a
// new start of the app, and sent when the network is back.
func TestWebAppKeeps(t *testing.T) {
	t.Parallel()
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	c.create("Old", "text")
	b := newBrowser(t, p)
	b.sign()
	b.do(awaitWorker)
	b.do(chromedp.Click(".nothing .primary"), chromedp.SendKeys(".note .title", "Trip"), chromedp.WaitReady(".rich-editor"),
		chromedp.Click(".text"))
	b.press("pack")
	awaitContent(t, c, "Trip", "pack")

	b.network.Set(testserver.Refuse)
	b.press(" the tent")
	b.await(".state", "Offline")
	b.do(chromedp.Sleep(300*time.Millisecond), chromedp.Reload(), chromedp.WaitVisible(".state"))
	b.await(".state", "Offline")
	if title := find(b.tab, chromedp.Evaluate[string](`document.querySelector(".note .title").value`)); title != "Trip" {
		t.Errorf("without a network the title is %q, want Trip", title)
	}
	b.network.Set(testserver.Pass)
	awaitContent(t, c, "Trip", "pack the tent")
	b.await(".state", "Saved")
	b.quiet()
}

// awaitWorker waits until the service worker has kept the app.
var awaitWorker = chromedp.Evaluate[chromedp.Void](`navigator.serviceWorker.ready.then(() => 0)`, chromedp.EvalAwaitPromise)

// awaitContent waits until the note of a title has the content on the server.
func awaitContent(t *testing.T, c *client, title, want string) {
	t.Helper()
	var found []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		found = nil
		for _, n := range c.get("/api/notes").notes() {
			if n.Title == title {
				found = append(found, n.Content)
			}
		}
		if len(found) == 1 && found[0] == want {
			return
		}
	}
	t.Fatalf("the notes called %s hold %q after %v, want %q", title, strings.Join(found, `", "`), patience, want)
}
