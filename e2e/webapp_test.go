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

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"notesd/internal/testserver"
)

// A browser is a page in Chromium.
type browser struct {
	*tab
	page
}

// newBrowser opens the web app.
func newBrowser(t *testing.T, p *process) *browser {
	t.Helper()
	in := openTab(t)
	in.do(chromedp.EmulateViewport(1200, 800))
	b := &browser{in, page{driver: in, network: testserver.NewProxy(t, p.url)}}
	b.open("/")
	b.do(chromedp.WaitVisible("form"))
	return b
}

// press is page's, which counts; tab has one, too.
func (b *browser) press(keys string) {
	b.t.Helper()
	b.page.press(keys)
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

// The newcomer's walk in Chromium.
func TestWebApp(t *testing.T) {
	t.Parallel()
	p := start(t, "LOG_LEVEL=warn")
	one, two := newBrowser(t, p), newBrowser(t, p)
	first, old := walk(&one.page, &two.page, func(_ *page, name string) {
		one.picture(name)
		one.axe(name)
	})
	t.Logf("a first note took %v; an older version %v", first, old)
	if first.hands() > 17*time.Second || old.hands() > 20*time.Second {
		t.Error("these are more steps than there were")
	}
	if first.waited > 20*time.Second || old.waited > 20*time.Second {
		t.Error("the app had the person wait for long")
	}

	one.toEnd()
	one.evaluate(`(() => { // what Google Docs copies
		const clipboardData = new DataTransfer();
		clipboardData.setData("text/plain", "Buy green tea");
		clipboardData.setData("text/html", '<b style="font-weight:normal" id="docs-internal-guid-1">' +
			'<p><span>Buy </span><span style="font-weight:700">green</span><span> tea</span></p></b>');
		document.querySelector(".rich-editor").shadowRoot.querySelector(".cm-content").dispatchEvent(
			new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
	})()`)
	one.until("what was pasted", noteText+`.includes("Buy **green** tea")`)
	one.saved()
	one.quiet()
}

// Each view in both schemes, on a phone and at a desk: axe finds nothing, and nothing is wider than the screen.
func TestWebAppAccess(t *testing.T) {
	t.Parallel()
	long(t, "four looks at each view")
	p := start(t, "LOG_LEVEL=warn")
	b := newBrowser(t, p)
	found, looks := b.findings(p.member("ada@example.com"))
	t.Logf("%d looks", looks)
	for _, f := range found {
		t.Error(f)
	}
	b.quiet()
}

// findings are what is wrong with the views in any scheme and width, and how often it was looked at one.
func (b *browser) findings(c *client) (found []string, looks int) {
	b.t.Helper()
	eachView(&b.page, c, func(view string) {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{320, 1200} {
				looks++
				b.look(scheme, width)
				name := fmt.Sprintf("%s, %s, %d pixels wide", view, scheme, width)
				b.do(chromedp.Sleep(200 * time.Millisecond))
				found = append(found, b.axeFinds(name)...)
				if wide := value[int64](&b.page, "document.documentElement.scrollWidth"); wide > width {
					found = append(found, fmt.Sprintf("%s: the page is %d pixels wide", name, wide))
				}
			}
		}
	})
	return found, looks
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
