package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"notesd/internal/testserver"
)

// A driver controls a tab of a browser. A failure of the browser fails the test.
type driver interface {
	testing() *testing.T
	// evaluate runs a script and returns the string that it, or its promise, comes to; "" if it is none.
	evaluate(script string) string
	// press sends key events to what has the focus. Control characters are those of kb.
	press(keys string)
	// pressControl presses a key while Ctrl is held.
	pressControl(key rune)
	navigate(url string)
	reload()
	// complaints returns the errors and warnings of the console.
	complaints() []string
}

// A page is a tab with the web app of a server, behind a network that can be cut. Its methods work in every browser.
type page struct {
	driver
	network *testserver.Proxy
	base    string // the URL of the server; "": that of network
	email   string // of the account; "": ada@example.com
	person  effort
}

// value is the value of an expression, or of its promise.
func value[T any](p *page, expression string) (found T) {
	p.testing().Helper()
	text := p.evaluate("Promise.resolve(" + expression + ").then((v) => JSON.stringify(v))")
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		p.testing().Fatalf("%s is %q: %v", expression, text, err)
	}
	return found
}

// open goes to a path of the server.
func (p *page) open(path string) {
	p.testing().Helper()
	base := p.base
	if base == "" {
		base = p.network.URL()
	}
	p.navigate(base + path)
}

// press presses keys wherever the keyboard is.
func (p *page) press(keys string) {
	p.testing().Helper()
	p.person.keys += len([]rune(keys))
	p.driver.press(keys)
}

// enter types a text into a field.
func (p *page) enter(selector, text string) {
	p.testing().Helper()
	p.shows(selector)
	p.evaluate(fmt.Sprintf("document.querySelector(%q).focus()", selector))
	p.press(text)
}

// sign fills the form with an account, and returns when the list is there.
func (p *page) sign() {
	p.testing().Helper()
	p.enter("[name=email]", cmp.Or(p.email, "ada@example.com"))
	p.enter("[name=password]", password+kb.Enter)
	p.shows(".row")
}

// toEnd puts the cursor behind the text of the note.
func (p *page) toEnd() {
	p.testing().Helper()
	p.evaluate(`document.querySelector(".rich-editor").shadowRoot.querySelector(".cm-content").focus()`)
	p.pressControl([]rune(kb.End)[0])
}

// click clicks the button or link with a name.
func (p *page) click(name string) {
	p.testing().Helper()
	const script = `(() => {
		const all = [...document.querySelectorAll("button, a")].filter((e) => e.checkVisibility());
		const found = all.find((e) => (e.getAttribute("aria-label") ?? e.textContent).trim() === %q);
		found?.click();
		return found !== undefined;
	})()`
	p.person.clicks++
	p.until("a button "+name, fmt.Sprintf(script, name))
}

// follow clicks the first link that has a text in it.
func (p *page) follow(text string) {
	p.testing().Helper()
	const script = `(() => {
		const found = [...document.querySelectorAll("a")].find((e) => e.checkVisibility() && e.textContent.includes(%q));
		found?.click();
		return found !== undefined;
	})()`
	p.person.clicks++
	p.until("a link with "+text, fmt.Sprintf(script, text))
}

// shows returns once what a selector finds can be seen.
func (p *page) shows(selector string) {
	p.testing().Helper()
	p.until(selector, fmt.Sprintf("document.querySelector(%q)?.checkVisibility() === true", selector))
}

// lacks returns once a selector finds nothing.
func (p *page) lacks(selector string) {
	p.testing().Helper()
	p.until("no "+selector, fmt.Sprintf("document.querySelector(%q) === null", selector))
}

// until returns once a script is true.
func (p *page) until(what, script string) {
	p.testing().Helper()
	p.untilWithin(patience, what, script)
}

func (p *page) untilWithin(limit time.Duration, what, script string) {
	p.testing().Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if value[bool](p, script) {
			return
		}
		if time.Now().After(deadline) {
			has := p.evaluate("document.body.textContent")
			p.testing().Fatalf("after %v there is not %s; the page has:\n%s", limit, what, has)
		}
	}
}

// says returns once the state of the note begins with a word.
func (p *page) says(state string) {
	p.testing().Helper()
	p.until(state, fmt.Sprintf(`document.querySelector(".state")?.textContent.startsWith(%q) === true`, state))
}

// saved returns once the note that is open is saved.
func (p *page) saved() {
	p.testing().Helper()
	p.says("Saved")
}

// noteText is a script for the text in the editor, be it the plain one or the rich one.
const noteText = `(document.querySelector(".rich-editor")?.shadowRoot.querySelector(".cm-content")?.innerText ??
	document.querySelector(".plain-editor")?.value ?? "")`

// reads returns once the editor has a text, space around it aside.
func (p *page) reads(text string) {
	p.testing().Helper()
	p.until("the text "+text, fmt.Sprintf("%s.replaceAll('\\u200b', '').trim() === %q", noteText, text))
}

// quiet fails the test if the console has an error. Being signed out is none, nor are another user and being offline.
func (p *page) quiet() {
	p.testing().Helper()
	for _, e := range p.complaints() {
		expected := func(text string) bool { return strings.Contains(e, text) }
		if !slices.ContainsFunc([]string{"401 (", "409 (", "412 (", "net::ERR_"}, expected) {
			p.testing().Errorf("the console has %s", e)
		}
	}
}

// awaitWorker returns once the service worker has kept the app.
func (p *page) awaitWorker() {
	p.testing().Helper()
	p.evaluate("navigator.serviceWorker.ready.then(() => '')")
}

// An effort is what a person does, and how long the app has that person wait.
type effort struct {
	keys, clicks, thoughts int
	waited                 time.Duration
}

// Times of the keystroke-level model (Card, Moran, Newell 1980).
const (
	keyTime     = 200 * time.Millisecond // of an average typist, 55 words a minute
	clickTime   = 1200 * time.Millisecond
	thoughtTime = 1350 * time.Millisecond
)

// hands is the time that the person takes.
func (e effort) hands() time.Duration {
	return time.Duration(e.keys)*keyTime + time.Duration(e.clicks)*clickTime + time.Duration(e.thoughts)*thoughtTime
}

// total is the time until the person is done.
func (e effort) total() time.Duration { return e.hands() + e.waited }

func (e effort) String() string {
	return fmt.Sprintf("%.1f s: %d thoughts, %d clicks, %d keys, and %.1f s of waiting",
		e.total().Seconds(), e.thoughts, e.clicks, e.keys, e.waited.Seconds())
}

// tries returns what steps cost the person, who has to think some times.
func (p *page) tries(thoughts int, steps func()) effort {
	p.testing().Helper()
	p.person = effort{thoughts: thoughts}
	began := time.Now()
	steps()
	p.person.waited = time.Since(began)
	return p.person
}

// walk is the newcomer's walk in two browsers: an account, a first note, a reload, a second browser
// that sees it at once, a clash, an older version. It returns what the first note and the older
// version cost.
func walk(one, two *page, look func(*page, string)) (first, old effort) {
	t := one.testing()
	t.Helper()
	first = one.tries(4, func() { // whether to make an account; e-mail and password; how to begin; what to write
		one.click("Make an account")
		one.sign()
		one.press("c")
		one.shows(".title")
		one.press("Shopping" + kb.Enter)
		one.shows(".rich-editor")
		one.press("- [ ] milk")
		one.saved()
	})
	one.press(kb.Enter + "bread")
	const text = "- [ ] milk\n- [ ] bread"
	one.reads(text)
	one.saved()
	one.reload()
	one.shows(".rich-editor")
	one.reads(text)

	two.sign()
	two.follow("Shopping")
	two.shows(".rich-editor")
	two.reads(text)
	two.toEnd()
	two.press(" rolls")
	one.untilWithin(3*time.Second, "what the other browser wrote", noteText+`.includes("bread rolls")`)
	two.saved()

	// Both change the same words while one of them has no network.
	one.network.Set(testserver.Refuse)
	one.toEnd()
	one.press(" of rye")
	one.says("Offline")
	two.press(" of wheat")
	two.saved()
	one.network.Set(testserver.Pass)
	one.shows(".clashes")
	look(one, "clash")
	one.toEnd()
	one.press(" and oats") // what is typed during a clash is in the result
	one.until("the result with what was typed",
		`document.querySelector(".result textarea").value.includes("rye and oats")`)
	one.click("Keep the result")
	one.lacks(".clashes")
	one.saved()
	for _, words := range []string{"of rye and oats", "of wheat"} {
		two.until("both in the other browser", fmt.Sprintf("%s.includes(%q)", noteText, words))
	}

	old = one.tries(3, func() { // where the versions are; which one it was; whether to take it
		one.press(kb.Escape + "h")
		one.shows(".slider input")
		one.press(kb.Tab)
		one.until("the keyboard on the slider", `document.activeElement.matches(".slider input")`)
		one.press(kb.Home)
		one.until("the first version", `document.querySelector(".slider").textContent.startsWith("Version 1 of")`)
		one.until("the difference", `document.querySelector(".difference ins") !== null`)
		look(one, "history")
		// The first version has what was typed until the first save.
		text := value[string](one,
			`[...document.querySelectorAll(".difference pre > :not(ins)")].map((e) => e.textContent).join("")`)
		one.click("Bring this version back")
		one.reads(strings.TrimSpace(text))
	})
	two.until("the old text in the other browser", `!`+noteText+`.includes("rye")`)
	one.quiet()
	two.quiet()
	return first, old
}

// keeps has the app keep what is typed without a network, also over a new start of the app, and send
// it when the network is back. The client is of the same account.
func keeps(p *page, c *client) {
	t := p.testing()
	t.Helper()
	p.sign()
	p.awaitWorker()
	p.click("New note")
	p.enter(".note .title", "Trip"+kb.Enter)
	p.shows(".rich-editor")
	p.press("pack")
	awaitContent(t, c, "Trip", "pack")

	p.network.Set(testserver.Refuse)
	p.press(" the tent")
	p.says("Offline")
	time.Sleep(keptWithin)
	p.reload()
	p.says("Offline")
	if title := value[string](p, `document.querySelector(".note .title").value`); title != "Trip" {
		t.Errorf("without a network the title is %q, want Trip", title)
	}
	p.network.Set(testserver.Pass)
	awaitContent(t, c, "Trip", "pack the tent")
	p.saved()
	p.quiet()
}

// eachView shows each view of the app to look. It ends the sessions of the account, whose client it is given.
func eachView(p *page, c *client, look func(view string)) {
	p.testing().Helper()
	c.create("Shopping", "# One\n\n- [ ] two\n- [x] three\n\n[four](https://example.com)")
	for i := range 30 {
		c.post("/api/notes", map[string]any{"title": fmt.Sprintf("Note %d", i), "content": "text", "color": "#e5484d",
			"tags": []string{"home", fmt.Sprintf("tag %d", i)}, "isPinned": i == 3}).want(http.StatusCreated)
	}
	look("signing in")
	p.click("Make an account")
	p.shows("[autocomplete=new-password]")
	look("signing up")
	p.click("I have an account")
	p.sign()
	look("the list")
	p.press("?")
	p.shows("dialog")
	look("the help")
	p.press(kb.Escape)
	p.lacks("dialog")
	p.pressControl('k')
	p.shows("dialog")
	look("the commands")
	p.press(kb.Escape)
	p.lacks("dialog")
	p.press("jx")
	p.shows(".selection")
	look("a selection")
	p.press(kb.Escape)
	p.lacks(".selection")
	p.enter("#search", "nothing is like this")
	p.until("no match", `document.body.textContent.includes("No note matches")`)
	look("a search that finds nothing")

	p.open("/#q=Shopping")
	p.follow("Shopping")
	p.shows(".rich-editor")
	look("a note")
	id := value[string](p, `location.pathname.split("/").pop()`)
	p.press("v")
	p.shows(".rendered h1")
	look("the preview")
	p.press("v")
	p.lacks(".rendered")
	c.call(http.MethodPatch, "/api/notes/"+id, map[string]any{"content": "one\ntwo"}).want(http.StatusOK)
	p.reads("one\ntwo")
	p.press("h")
	p.shows(".difference")
	look("the history")
	p.press("h")
	p.lacks(".difference")
	p.network.Set(testserver.Refuse)
	p.toEnd()
	p.press(" and three")
	p.says("Offline")
	look("a note without a network")
	c.call(http.MethodPatch, "/api/notes/"+id, map[string]any{"content": "one\ntwo or four"}).want(http.StatusOK)
	p.network.Set(testserver.Pass)
	p.shows(".clashes")
	look("a clash")
	p.click("Keep the result")
	p.lacks(".clashes")
	p.saved()
	p.press(kb.Escape + "#")
	p.shows(".toast p")
	look("an offer to undo")
	p.open("/#in=trash")
	p.shows(".row")
	look("the trash")
	p.open("/#account")
	p.shows(".part li")
	look("the account")
	p.open("/")
	p.shows(".row")
	c.call(http.MethodDelete, "/api/auth/sessions", nil)
	p.evaluate(`dispatchEvent(new Event("online"))`)
	p.shows("[name=password]")
	look("the end of a session")
}
