package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
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

// press presses keys wherever the keyboard is. A key that the page handles types nothing, other than with chromedp.KeyEvent.
func (b *browser) press(keys string) {
	b.t.Helper()
	for _, r := range keys {
		for _, k := range kb.Encode(r) {
			switch k.Type {
			case kb.KeyChar:
				continue
			case kb.KeyDown:
				if key := kb.Keys[r]; key != nil && key.Print {
					k.Text, k.UnmodifiedText = key.Text, key.Unmodified
				}
			}
			send(b.tab, input.DispatchKeyEvent, *k)
		}
	}
}

// toEnd puts the cursor behind the text of the note.
func (b *browser) toEnd() {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector(".rich-editor").shadowRoot.querySelector(".cm-content").focus()`),
		chromedp.KeyEvent(kb.End, chromedp.KeyModifiers(kb.ModifierCtrl)))
}

// click clicks the button or link with a name.
func (b *browser) click(name string) {
	b.t.Helper()
	const script = `(() => {
		const all = [...document.querySelectorAll("button, a")].filter((e) => e.checkVisibility());
		const found = all.find((e) => (e.getAttribute("aria-label") ?? e.textContent).trim() === %q);
		found?.click();
		return found !== undefined;
	})()`
	b.until("a button "+name, fmt.Sprintf(script, name))
}

// until returns once a script is true.
func (b *browser) until(what, script string) {
	b.t.Helper()
	b.untilWithin(patience, what, script)
}

func (b *browser) untilWithin(limit time.Duration, what, script string) {
	b.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if find(b.tab, chromedp.Evaluate[bool](script)) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("after %v there is not %s; the page has:\n%s", limit, what, b.text("body"))
		}
	}
}

// noteText is a script for the text in the editor, be it the plain one or the rich one.
const noteText = `(document.querySelector(".rich-editor")?.shadowRoot.querySelector(".cm-content")?.innerText ??
	document.querySelector(".plain-editor")?.value ?? "")`

// reads returns once the editor has a text.
func (b *browser) reads(text string) {
	b.t.Helper()
	b.until("the text "+text, fmt.Sprintf("%s.replaceAll('\\u200b', '').trimEnd() === %q", noteText, text))
}

// saved returns once the note that is open is saved.
func (b *browser) saved() {
	b.t.Helper()
	b.until("Saved", `document.querySelector(".state")?.textContent === "Saved"`)
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

// picture writes what the page looks like into the directory of WEB_PICTURES, if it is set.
func (b *browser) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("WEB_PICTURES")
	if dir == "" {
		return
	}
	b.do(chromedp.Sleep(500 * time.Millisecond))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), find(b.tab, chromedp.CaptureScreenshot()), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// A newcomer's walk in real browsers: an account, a first note, a reload, a second browser that sees it within a second, a
// clash, an older version.
func TestWebApp(t *testing.T) {
	t.Parallel()
	p := start(t, "LOG_LEVEL=warn")
	one := newBrowser(t, p)
	began := time.Now()
	one.click("Make an account")
	one.sign()
	one.press("c")
	one.do(chromedp.WaitVisible(".title"))
	one.press("Shopping" + kb.Enter)
	one.do(chromedp.WaitReady(".rich-editor"))
	one.press("- [ ] milk" + kb.Enter + "bread")
	one.saved()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("a first note took %v, want 20 s", took)
	}
	const first = "- [ ] milk\n- [ ] bread"
	one.reads(first)
	one.do(chromedp.Reload(), chromedp.WaitReady(".rich-editor"))
	one.reads(first)

	two := newBrowser(t, p)
	two.sign()
	two.do(chromedp.Click("//a[contains(., 'Shopping')]"), chromedp.WaitReady(".rich-editor"))
	two.reads(first)
	two.toEnd()
	two.press(" rolls")
	one.untilWithin(3*time.Second, "what the other browser wrote", noteText+`.includes("bread rolls")`)
	two.saved()

	// Both change the same words while one of them has no network.
	one.network.Set(testserver.Refuse)
	one.toEnd()
	one.press(" of rye")
	one.until("that it is offline", `document.querySelector(".state").textContent.startsWith("Offline")`)
	two.press(" of wheat")
	two.saved()
	one.network.Set(testserver.Pass)
	one.do(chromedp.WaitVisible(".clashes"))
	one.picture("clash")
	one.axe("a clash")
	one.toEnd()
	one.press(" and oats") // what is typed during a clash is in the result
	one.until("the result with what was typed", `document.querySelector(".result textarea").value.includes("rye and oats")`)
	one.click("Keep the result")
	one.do(chromedp.WaitNotPresent(".clashes"))
	one.saved()
	for _, words := range []string{"of rye and oats", "of wheat"} {
		two.until("both in the other browser", fmt.Sprintf("%s.includes(%q)", noteText, words))
	}

	began = time.Now()
	one.press(kb.Escape)
	one.press("h")
	one.do(chromedp.WaitVisible(".slider input"), chromedp.Focus(".slider input"))
	one.press(kb.Home)
	one.until("the first version", `document.querySelector(".slider").textContent.startsWith("Version 1 of")`)
	one.until("the difference", `document.querySelector(".difference ins") !== null`)
	one.axe("the history")
	one.click("Bring this version back")
	one.until("the old text", noteText+`.includes("milk") && !`+noteText+`.includes("rye")`)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("an older version took %v, want a minute", took)
	}
	two.until("the old text in the other browser", `!`+noteText+`.includes("rye")`)
	one.quiet()
	two.quiet()
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

// A note that wants to run scripts, to tell strangers who reads it, or to stop the page does none of it in the preview, and
// images of other servers are fetched when the user asks for them.
func TestWebAppHostile(t *testing.T) {
	t.Parallel()
	long(t, "Chromium")
	p := start(t, "LOG_LEVEL=warn")
	var fetched atomic.Int64
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fetched.Add(1) }))
	t.Cleanup(stranger.Close)
	text := strings.ReplaceAll(`# harmless

<script>window.ran = "script"</script><img src=x onerror="window.ran='onerror'"><svg onload="window.ran='svg'"></svg>
<iframe src="javascript:parent.ran='iframe'"></iframe><form action="STRANGER"><button>send</button></form>
<style>body { display: none }</style><p style="background: url(STRANGER/css)">styled</p>
<video src="STRANGER/video" poster="STRANGER/poster"></video><a id="app" name="location" href="javascript:window.ran='link'">click</a>

[link](javascript:window.ran='md') [data](data:text/html,<script>parent.ran='data'</script>) [fine](https://example.com/)

![picture](STRANGER/image.png)

- [x] ticked

<math><mtext></form><form><mglyph><style></math><img src onerror="window.ran='mutation'">
`, "STRANGER", stranger.URL)
	c := p.member("ada@example.com")
	id := c.create("hostile", text)
	deep := c.create("deep", strings.Repeat("> - ", 300)+"deep")
	endless := c.create("endless", strings.Repeat("[", 200_000))
	one := c.create("one line", strings.Repeat("word ", 200_000))
	b := newBrowser(t, p)
	b.sign()
	b.open("/n/" + id)
	b.do(chromedp.WaitReady(".rich-editor"))
	b.press("v")
	b.do(chromedp.WaitReady(".rendered h1"), chromedp.Sleep(time.Second))
	const left = `(() => {
		const bad = [...document.querySelectorAll(".rendered :is(script, iframe, form, style, video, button, svg, math, [style], [onerror], [name])")].map((e) => e.outerHTML);
		for (const a of document.querySelectorAll(".rendered a")) {
			if (!/^https:/.test(a.getAttribute("href") ?? "https:") || a.href && a.rel !== "noopener noreferrer") bad.push(a.outerHTML);
		}
		return String(window.ran ?? "") + bad.join(" ");
	})()`
	if got := find(b.tab, chromedp.Evaluate[string](left)); got != "" {
		t.Errorf("the preview has %s", got)
	}
	if got := find(b.tab, chromedp.Evaluate[string](`document.querySelector(".rendered").textContent`)); !strings.Contains(got, "styled") || !strings.Contains(got, "ticked") {
		t.Errorf("the preview reads %q, want what is harmless in it", got)
	}
	if n := fetched.Load(); n != 0 {
		t.Errorf("the stranger was asked %d times", n)
	}
	b.click("Show")
	b.until("the image", `document.querySelector(".rendered img[src$='image.png']") !== null`)
	b.open("/n/" + deep)
	b.do(chromedp.WaitReady(".rich-editor"))
	b.press("v")
	b.until("the preview", `document.querySelector(".rendered")?.textContent.trim() === "deep"`)
	b.open("/n/" + one)
	b.do(chromedp.SendKeys(".plain-editor", "!"))
	b.saved()
	b.open("/n/" + endless)
	b.do(chromedp.WaitReady(".plain-editor"))
	b.press("v")
	b.until("the preview, or word that it takes too long", `document.querySelector(".preview")?.textContent.trim().length > 3`)
}

// What README and docs show. `make pictures` writes them.
func TestWebAppPictures(t *testing.T) {
	t.Parallel()
	if os.Getenv("WEB_PICTURES") == "" {
		t.Skip("WEB_PICTURES is not set")
	}
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	const poem = "# Saturday\n\n- [x] bread, *rye*\n- [ ] coffee beans\n- [ ] batteries for the **bicycle lamp**\n\n" +
		"## Pancakes\n\n1. Whisk 3 eggs, 250 g flour, 500 ml milk\n2. Let it rest for `20 min`\n\n> The first one is always for the cook.\n"
	for _, n := range []struct {
		title, content, color string
		tags                  []string
		pinned, favorite      bool
	}{
		{"Night train", "Platform 7, 22:14. Seat 61 in coach 12.\nCall from Hamburg.", "", []string{"travel"}, false, false},
		{"Books to read", "- [ ] The Periodic Table\n- [x] Invisible Cities", "", []string{"reading"}, false, false},
		{"Garden, second year", "Beans along the fence, garlic where the tomatoes were.", "#3d9a50", []string{"home", "garden"}, false, false},
		{"Talk: queues", "Little's law first. Then why a bounded queue is a kindness.", "#8e5bd0", []string{"work"}, false, false},
		{"Measurements", "Desk 140 × 70, door 86, window 121 × 150", "", []string{"home"}, false, false},
		{"Wi-Fi of the cabin", "It is on the fridge.", "#e2b203", []string{"travel"}, true, false},
		{"Shopping and Sunday", poem, "#2f7bd9", []string{"home"}, true, true},
	} {
		body := map[string]any{"title": n.title, "content": n.content, "tags": n.tags, "isPinned": n.pinned, "isFavorite": n.favorite, "isMarkdown": true}
		if n.color != "" {
			body["color"] = n.color
		}
		r := c.post("/api/notes", body).want(http.StatusCreated)
		if n.content == poem {
			for _, change := range [][2]string{{"coffee beans", "coffee beans, dark"}, {"3 eggs", "4 eggs"}, {"20 min", "half an hour"}} {
				text := strings.Replace(r.note().Content, change[0], change[1], 1)
				r = c.call(http.MethodPatch, "/api/notes/"+r.note().ID, map[string]any{"content": text}).want(http.StatusOK)
			}
		}
	}
	b := newBrowser(t, p)
	b.sign()
	show := func(name, scheme string, width, height int64) {
		b.look(scheme, width)
		b.do(chromedp.EmulateViewport(width, height))
		b.picture(name)
	}
	show("phone-list", "light", 390, 780)
	b.look("light", 1200)
	b.do(chromedp.Click("//a[contains(., 'Shopping and Sunday')]"), chromedp.WaitReady(".rich-editor"))
	show("phone-note", "dark", 390, 780)
	b.look("light", 1200)
	b.press("v")
	b.do(chromedp.WaitReady(".rendered h1"))
	show("desk", "light", 1280, 760)
	show("desk-dark", "dark", 1280, 760)
	b.press("h")
	b.do(chromedp.WaitVisible(".difference"), chromedp.Focus(".slider input"))
	b.press(kb.Home)
	b.until("the difference", `document.querySelector(".difference ins") !== null`)
	show("history", "light", 1280, 760)
}
