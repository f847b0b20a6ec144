package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"

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
	keeps(&newBrowser(t, p).page, c)
}

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

// A session that ends takes the notes with it, but not what is unsent: that is sent when the same user signs in. One that
// is being replaced, as by a new password, does not end.
func TestWebAppSessionEnds(t *testing.T) {
	t.Parallel()
	long(t, "signs in twice")
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	id := c.create("Mine", "one")
	c.create("Secret", "of mine")
	b := newBrowser(t, p)
	b.sign()
	b.open("/n/" + id)
	b.awaitWorker()
	b.do(chromedp.WaitVisible(".rich-editor"))
	b.do(chromedp.Evaluate[chromedp.Void](`{
		const ask = window.fetch;
		window.fetch = (path, ...how) => {
			if (path !== "/api/auth/me") return ask(path, ...how);
			window.fetch = ask;
			setTimeout(() => { window.wasAsked = true; }, 200);
			return Promise.resolve(new Response("{}", { status: 401 }));
		};
		dispatchEvent(new Event("online"));
	}`))
	b.until("that the session was asked for", `window.wasAsked === true`)
	b.until("the note", `document.querySelector(".rich-editor") !== null`)
	b.typeOffline(" and two")
	c.try(http.MethodDelete, "/api/auth/sessions", nil)
	b.network.Set(testserver.Pass)
	b.do(chromedp.Evaluate[chromedp.Void](`dispatchEvent(new Event("online"))`), chromedp.WaitVisible("[name=password]"),
		chromedp.Reload(), chromedp.WaitVisible("[name=password]"))
	const count = `indexedDB.databases().then(async all => {
		const name = all.map(d => d.name).find(n => n.startsWith("notesd "));
		const db = await new Promise(done => { const open = indexedDB.open(name); open.onsuccess = () => done(open.result); });
		const keys = table => new Promise(done => { const all = db.transaction(table).objectStore(table).count(); all.onsuccess = () => done(all.result); });
		const found = [await keys("rows"), await keys("bodies"), await keys("outbox")].join(" ");
		db.close();
		return found;
	})`
	if kept := find(b.tab, chromedp.Evaluate[string](count, chromedp.EvalAwaitPromise)); kept != "0 0 1" {
		t.Errorf("rows, texts and unsent notes here after the session ended: %s, want 0 0 1", kept)
	}
	b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(signInAgain, password)))
	awaitContent(t, c, "Mine", "one and two")
	b.quiet()
}

// signInAgain is a script that fills and sends the form, if it is there.
const signInAgain = `for (const [name, value] of [["email", "ada@example.com"], ["password", %q]]) {
	const field = document.querySelector("[name=" + name + "]");
	if (field) { field.value = value; field.dispatchEvent(new Event("input", {bubbles: true})); }
}
document.querySelector("[name=password]")?.form.requestSubmit()`

// typeOffline cuts the network, and returns once what it types at the end of the note is kept in the browser.
func (b *browser) typeOffline(text string) {
	b.t.Helper()
	b.network.Set(testserver.Refuse)
	b.typeAtEnd(text)
	b.await(".state", "Offline")
	b.do(chromedp.Sleep(keptWithin))
}

// typeAtEnd types at the end of the text.
func (b *browser) typeAtEnd(text string) {
	b.t.Helper()
	b.do(chromedp.Click(".text"))
	for _, kind := range []input.DispatchKeyEventType{"rawKeyDown", "keyUp"} {
		send(b.tab, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: "End", Code: "End", WindowsVirtualKeyCode: 35, Modifiers: 2})
	}
	for _, key := range text {
		send(b.tab, input.InsertText, input.InsertTextParams{Text: string(key)})
	}
}

// What is typed in one tab of a browser is sent by the one that leads, and shown in it.
func TestWebAppTabs(t *testing.T) {
	t.Parallel()
	long(t, "two tabs")
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	id := c.create("Both", "one")
	b := newBrowser(t, p)
	b.sign()
	b.open("/n/" + id)
	b.do(chromedp.WaitVisible(".rich-editor"))
	const inSecond = `new Promise(done => {
		const second = window.open(%q);
		const look = () => {
			const text = second.document.querySelector(".rich-editor")?.shadowRoot?.querySelector(".cm-content");
			if (!text) return setTimeout(look, 50);
			text.focus();
			second.document.execCommand("insertText", false, "three, ");
			done(0);
		};
		look();
	})`
	b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(inSecond, "/n/"+id), chromedp.EvalAwaitPromise))
	awaitContent(t, c, "Both", "three, one")
	const shown = `new Promise(done => {
		const look = () => document.querySelector(".rich-editor").shadowRoot.textContent.includes("three, one") ? done(0) : setTimeout(look, 50);
		look();
	})`
	b.do(chromedp.Evaluate[chromedp.Void](shown, chromedp.EvalAwaitPromise))
	b.quiet()
}
