package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"notesd/internal/testserver"
)

// keptHere is a script that counts the rows, texts and unsent notes of an account's database.
const keptHere = `(async () => {
	const result = (asked) => new Promise(done => { asked.onsuccess = () => done(asked.result); });
	const db = await result(indexedDB.open("notesd " + %q));
	const count = table => result(db.transaction(table).objectStore(table).count());
	const found = [await count("rows"), await count("bodies"), await count("outbox")].join(" ");
	db.close();
	return found;
})()`

func (c *client) userID() string {
	c.t.Helper()
	var me struct {
		Data struct{ User struct{ ID string } }
	}
	c.get("/api/auth/me").want(http.StatusOK).decode(&me)
	return me.Data.User.ID
}

// signInAs fills and sends the form.
func (b *browser) signInAs(email string) {
	b.t.Helper()
	script := strings.ReplaceAll(fmt.Sprintf(signInAgain, password), "ada@example.com", email)
	b.do(chromedp.WaitVisible("[name=password]"), chromedp.Evaluate[chromedp.Void](script))
	b.lacks("[name=password]")
	b.shows("#search")
}

// reconnect lets the network pass, and tells the page.
func (b *browser) reconnect() {
	b.t.Helper()
	b.network.Set(testserver.Pass)
	b.do(chromedp.Evaluate[chromedp.Void](`dispatchEvent(new Event("online"))`))
}

// atSignIn waits for the form, above which nothing of a note may stand.
func (b *browser) atSignIn(secret string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible("[name=password]"), chromedp.Sleep(300*time.Millisecond))
	const all = `document.body.textContent + document.title + [...document.querySelectorAll("*")].map(
		e => (e.shadowRoot?.textContent ?? "") + (e.value ?? "")).join(" ")`
	if text := find(b.tab, chromedp.Evaluate[string](all)); strings.Contains(text, secret) {
		b.t.Errorf("the page of the signed out has %q: %s", secret, text)
	}
}

// What one user typed without a network never goes into another's account, whose session the browser
// has by then: behind the app's back, or since somebody signed out without a network and another signed
// in. It goes when the same user signs in.
func TestWebAppAccounts(t *testing.T) {
	t.Parallel()
	long(t, "five sign-ins")
	p := start(t, "LOG_LEVEL=warn")
	ada, eve := p.member("ada@example.com"), p.member("eve@example.com")
	eve.create("Hers", "three")
	id := ada.create("Mine", "one")
	b := newBrowser(t, p)
	b.sign()
	b.open("/n/" + id)
	b.awaitWorker()
	b.do(chromedp.WaitVisible(".rich-editor"))
	b.typeOffline(" and two")
	sessions := func() int {
		var list struct{ Data []struct{ ID string } }
		ada.get("/api/auth/sessions").want(http.StatusOK).decode(&list)
		return len(list.Data)
	}
	if n := sessions(); n != 2 {
		t.Fatalf("%d sessions of the user, want 2", n)
	}

	another := p.visitor()
	another.signIn("eve@example.com", password).want(http.StatusOK)
	_, session, _ := strings.Cut(another.cookie(), "sessionId=")
	session, _, _ = strings.Cut(session, ";")
	send(b.tab, network.SetCookie, network.SetCookieParams{
		Name: "sessionId", Value: session, URL: b.network.URL(), Path: "/"})
	b.reconnect()
	b.atSignIn("and two")
	if titles := eve.titles(); len(titles) != 1 || !titles["Hers"] {
		t.Errorf("the other account has %v", titles)
	}
	b.signInAs("ada@example.com")
	awaitContent(t, ada, "Mine", "one and two")

	b.open("/n/" + id)
	b.do(chromedp.WaitVisible(".rich-editor"))
	b.typeOffline(", four")
	before := sessions()
	b.open("/#account")
	b.click("Sign out")
	b.atSignIn("four")
	if kept := value[string](&b.page, fmt.Sprintf(keptHere, ada.userID())); kept != "0 0 1" {
		t.Errorf("rows, texts and unsent notes here after a sign-out without a network: %s, want 0 0 1", kept)
	}
	b.do(chromedp.Reload())
	b.atSignIn("four")
	b.reconnect()
	p.await("the end of the session", func() bool { return sessions() == before-1 })
	b.signInAs("eve@example.com")
	b.until("the other's note", `document.querySelector(".row")?.textContent.includes("Hers") === true`)
	b.do(chromedp.Sleep(2 * time.Second))
	if titles := eve.titles(); len(titles) != 1 || !titles["Hers"] {
		t.Errorf("the other account has %v", titles)
	}
	b.open("/#account")
	b.click("Sign out")
	b.signInAs("ada@example.com")
	awaitContent(t, ada, "Mine", "one and two, four")
	b.quiet()
}

// Where the browser keeps nothing, the page says so, and what is typed goes to the server at once.
func TestWebAppRefusedStorage(t *testing.T) {
	t.Parallel()
	long(t, "Chromium")
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	id := c.create("Mine", "one")
	b := newBrowser(t, p)
	send(b.tab, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{
		Source: `IDBFactory.prototype.open = () => { throw new DOMException("refused", "SecurityError"); }`})
	b.open("/")
	b.sign()
	b.open("/n/" + id)
	b.do(chromedp.WaitVisible(".rich-editor"))
	b.await(".banner", "Not kept on this device")
	b.typeAtEnd(" and two")
	awaitContent(t, c, "Mine", "one and two")
	b.network.Set(testserver.Refuse)
	b.typeAtEnd(", three")
	b.await(".state", "Not kept on this device")
	b.reconnect()
	awaitContent(t, c, "Mine", "one and two, three")
	b.await(".state", "Saved")
	b.quiet()
}

// The storage of a browser fills up while two tabs type into one note: what one of them could not write
// replaces nothing that the other one has kept.
func TestWebAppFullStorage(t *testing.T) {
	t.Parallel()
	long(t, "two tabs")
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	id := c.create("Both", "one\n\ntwo")
	b := newBrowser(t, p)
	// Chromium looks at the quota now and then, so the test says when it is used up, and for which tab.
	send(b.tab, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: `{
		const put = IDBObjectStore.prototype.put;
		IDBObjectStore.prototype.put = function (...all) {
			if (window.isFull) throw new DOMException("full", "QuotaExceededError");
			return put.apply(this, all);
		};
	}`})
	b.sign()
	b.open("/n/" + id)
	b.awaitWorker()
	b.do(chromedp.WaitVisible(".rich-editor"))
	const inSecond = `new Promise(done => {
		const tab = (window.second ??= window.open(%q));
		const look = () => {
			const text = tab.document.querySelector(".rich-editor")?.shadowRoot?.querySelector(".cm-content");
			if (!text) return setTimeout(look, 50);
			if (!%q) return done(0);
			text.focus();
			tab.document.execCommand("insertText", false, %[2]q);
			setTimeout(() => done(0), 300);
		};
		look();
	})`
	second := func(text string) chromedp.Action[chromedp.Void] {
		return chromedp.Evaluate[chromedp.Void](fmt.Sprintf(inSecond, "/n/"+id, text), chromedp.EvalAwaitPromise)
	}
	b.do(second(""))
	b.network.Set(testserver.Refuse)
	b.typeAtEnd(" begun")
	b.await(".state", "Offline")
	b.do(chromedp.Evaluate[chromedp.Void](`window.isFull = true`))
	b.typeAtEnd(strings.Repeat(" behind", 20))
	b.await(".state", "Not kept on this device")
	b.do(second("ahead, "), chromedp.Evaluate[chromedp.Void](`window.isFull = false`))
	b.until("all kept", `!document.querySelector(".state").textContent.includes("Not kept")`)
	b.reconnect()
	want := "ahead, one\n\ntwo begun" + strings.Repeat(" behind", 20)
	var all string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		all = ""
		for _, n := range c.get("/api/notes").notes() {
			all += n.Content + "\n"
		}
		if all == want+"\n" {
			break
		}
	}
	if !strings.Contains(all, "ahead, one") || !strings.Contains(all, strings.Repeat(" behind", 20)) {
		t.Errorf("the notes are %q, want all of %q", all, want)
	}
	b.quiet()
}

// A browser whose clock is an hour off, and is set right, is away for long: the history goes meanwhile,
// the server is restored from a backup of before, and then refuses every save for a while. What was
// typed is there in the end.
func TestWebAppAway(t *testing.T) {
	t.Parallel()
	long(t, "a restored server")
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	id := c.create("Trip", "tent\n\nstove")
	file := filepath.Join(t.TempDir(), "a.backup")
	p.must("", "backup", file)
	var refuses, saves atomic.Int64
	u, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(u)
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPatch || refuses.Load() == 0 {
			r.Host = u.Host
			pass.ServeHTTP(w, r)
			return
		}
		saves.Add(1)
		note := c.get("/api/notes/" + id)
		var body map[string]any
		if err := json.Unmarshal(note.text, &body); err != nil {
			t.Error(err)
		}
		body["success"], body["error"], body["merge"] = false, "Note has changed", nil
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusConflict)
		_ = json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(between.Close)
	in := openTab(t)
	b := &browser{in, page{driver: in, network: testserver.NewProxy(t, between.URL)}}
	send(b.tab, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{
		Source: `{ const now = Date.now; window.ahead = 3600_000; Date.now = () => now() + window.ahead; }`})
	b.open("/")
	b.sign()
	b.open("/n/" + id)
	b.awaitWorker()
	b.do(chromedp.WaitVisible(".rich-editor"))
	b.typeAtEnd(", fuel")
	awaitContent(t, c, "Trip", "tent\n\nstove, fuel")

	// Away, with an edit of a revision that will be unknown. The clock is set right.
	b.network.Set(testserver.Refuse)
	b.typeAtEnd(", matches")
	b.await(".state", "Offline")
	b.do(chromedp.Evaluate[chromedp.Void](`window.ahead = 0`), chromedp.Sleep(time.Second))
	c.call(http.MethodPatch, "/api/notes/"+id, map[string]any{"content": "big tent\n\nstove, fuel"}).want(http.StatusOK)
	c.call(http.MethodDelete, "/api/notes/"+id+"/versions", nil).want(http.StatusOK)
	b.reconnect()
	awaitContent(t, c, "Trip", "big tent\n\nstove, fuel, matches")
	b.await(".state", "Saved")

	// Away once more, while the server is restored from a backup of before.
	b.typeOffline(", pan")
	p.stop()
	for _, name := range []string{"notes.db", "notes.db-wal", "notes.db-shm"} {
		if err := os.Remove(p.data(name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	p.must("", "restore", file)
	p.start()
	p.awaitReady()
	c.signIn("ada@example.com", password).want(http.StatusOK)
	b.reconnect()
	b.atSignIn("stove")
	b.signInAs("ada@example.com")
	b.open("/n/" + id)
	b.do(chromedp.WaitVisible(".state"))
	b.until("the note, saved or in a clash", `/Saved|Clash/.test(document.querySelector(".state")?.textContent)`)
	if strings.Contains(b.text(".state"), "Clash") {
		b.do(chromedp.WaitVisible(".clashes .primary"), chromedp.Click(".clashes .primary"))
		b.await(".state", "Saved")
	}
	text := c.get("/api/notes/" + id).note().Content
	if unsent := "stove, fuel, matches, pan"; !strings.Contains(text, unsent) {
		t.Errorf("after the restore the note is %q, without %q", text, unsent)
	}

	// Every save is refused as a conflict: it is tried again, less and less often.
	refuses.Store(1)
	b.do(chromedp.WaitVisible(".rich-editor"))
	b.typeAtEnd(", rope")
	b.do(chromedp.Sleep(8 * time.Second))
	if n := saves.Load(); n < 2 || n > 10 {
		t.Errorf("%d saves in 8 s of conflicts, want 2 to 10", n)
	}
	refuses.Store(0)
	b.do(chromedp.Evaluate[chromedp.Void](`dispatchEvent(new Event("online"))`))
	awaitContent(t, c, "Trip", text+", rope")
	b.await(".state", "Saved")
}
