package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp/kb"

	"notesd/internal/testserver"
)

// announced is a script that keeps what live regions say in window.announced.
const announced = `(() => {
	window.announced = [];
	new MutationObserver((changes) => {
		for (const { target } of changes) {
			const region = (target instanceof Element ? target : target.parentElement)?.closest("[role=status], [role=alert]");
			const text = region?.textContent.trim();
			if (text && !region.closest("[aria-hidden=true]") && window.announced.at(-1) !== text) window.announced.push(text);
		}
	}).observe(document.body, { subtree: true, childList: true, characterData: true });
})()`

// focused is a script for the name of what has the keyboard.
const focused = `(() => {
	let e = document.activeElement;
	while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
	return (e?.getAttribute("aria-label") ?? e?.labels?.[0]?.firstChild?.textContent ?? e?.textContent ?? "").trim();
})()`

// tabTo presses Tab until something with a name has the keyboard, and can be seen to have it.
func (p *page) tabTo(name string) {
	p.testing().Helper()
	var seen []string
	for range 120 {
		p.press(kb.Tab)
		at := value[string](p, focused)
		if at == name || strings.HasPrefix(at, name+" ") {
			const ring = `getComputedStyle(document.activeElement.closest(".color") ?? document.activeElement).outlineStyle`
			if style := value[string](p, ring); style == "none" {
				p.testing().Errorf("nothing shows that %s has the keyboard", name)
			}
			return
		}
		seen = append(seen, at)
		if at == "Text of the note" {
			p.press(kb.Escape) // Tab indents there
		}
	}
	p.testing().Fatalf("Tab does not come to %s, only to %q", name, seen)
}

// Every task is done by keyboard alone, and what becomes of what is typed is said to screen readers.
func TestWebAppKeyboard(t *testing.T) {
	t.Parallel()
	long(t, "a walk through the app")
	p := start(t, "LOG_LEVEL=warn")
	b := newBrowser(t, p)
	b.evaluate(announced)
	b.tabTo("Make an account")
	b.press(kb.Enter)
	b.shows("[autocomplete=new-password]")
	b.tabTo("E-mail")
	b.press("ada@example.com")
	b.tabTo("Password")
	b.press(password + kb.Enter)
	b.shows(".row")

	b.press("c")
	b.until("the keyboard on the title", focused+` === "Title"`)
	b.press("Plan" + kb.Enter)
	b.shows(".rich-editor")
	b.until("the keyboard on the text", focused+` === "Text of the note"`)
	b.press("- [ ] one")
	b.saved()
	b.pressControl('\r') // ticks the box
	b.reads("- [x] one")
	b.saved()
	time.Sleep(time.Second) // what lasts is said
	b.network.Set(testserver.Refuse)
	b.press(" two")
	b.says("Offline")
	time.Sleep(time.Second)
	b.network.Set(testserver.Pass)
	b.saved()
	time.Sleep(time.Second)
	said := value[[]string](&b.page, "window.announced")
	at := 0
	for _, want := range []string{"Saved", "Offline: kept on this device", "Saved"} {
		next := slices.Index(said[at:], want)
		if next < 0 {
			t.Fatalf("live regions said %q, want %q behind the first %d", said, want, at)
		}
		at += next + 1
	}
	if !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "Offline. What you write is kept here.") }) {
		t.Errorf("live regions said %q, and nothing of the connection", said)
	}

	b.press(kb.Escape) // leaves the text
	for _, flag := range []struct{ key, name string }{{"p", "Pin"}, {"f", "Favourite"}, {"a", "Archive"}} {
		pressed := fmt.Sprintf(`[aria-label=%s][aria-pressed=true]`, flag.name)
		b.press(flag.key)
		b.shows(".note " + pressed)
		if flag.key == "a" {
			b.press(flag.key)
			b.lacks(".note " + pressed)
		}
	}
	b.press("t")
	b.until("the keyboard on the tags", focused+` === "Add a tag"`)
	b.press("home" + kb.Enter + kb.Escape)
	b.shows("[aria-label='Remove the tag home']")
	b.press("v")
	b.shows(".rendered input")
	b.press("v")
	b.lacks(".rendered")
	b.saved()
	b.press("h")
	b.tabTo("Version")
	b.press(kb.Home)
	b.until("the first version", `document.querySelector(".slider").textContent.startsWith("Version 1 of")`)
	b.tabTo("Bring this version back")
	b.until("a button to press", `!document.activeElement.disabled`)
	b.press(kb.Enter)
	b.until("the old text", "!"+noteText+`.includes("two")`)
	b.until("an offer to undo", `document.querySelector(".toast").textContent.startsWith("An old version")`)
	b.press("z")
	b.until("the text again", noteText+`.includes("two")`)
	b.press("h")
	b.lacks(".history")

	b.press("/")
	b.until("the keyboard on the search", focused+` === "Search notes"`)
	b.press("tag:home" + kb.Enter)
	b.until("the note found", `document.querySelectorAll(".row").length === 1 && location.pathname.startsWith("/n/")`)
	const toast = `document.querySelector(".toast").textContent.startsWith(%q)`
	b.press("#")
	b.until("the trash", fmt.Sprintf(toast, "Moved to the trash"))
	b.press("z")
	b.until("an undo", fmt.Sprintf(toast, "Undone"))
	b.shows(".row")
	b.pressControl('k')
	b.until("the keyboard on the commands", focused+` === "Command, tag or note"`)
	b.press("show notes" + kb.Enter)
	b.until("all notes", `document.querySelectorAll(".row").length === 2`)
	b.press("jx")
	b.shows(".selection")
	b.press(kb.Escape)
	b.lacks(".selection")
	b.pressControl('k')
	b.until("the keyboard on the commands", focused+` === "Command, tag or note"`)
	b.press("account" + kb.Enter)
	b.shows(".part li")
	b.tabTo("Sign out")
	b.press(kb.Enter)
	b.shows("[name=password]")
	b.quiet()
}

// Nothing moves for those who want no motion, and each paragraph is written from its own side.
func TestWebAppMotionAndDirection(t *testing.T) {
	t.Parallel()
	long(t, "Chromium")
	p := start(t, "LOG_LEVEL=warn")
	c := p.member("ada@example.com")
	id := c.create("שלום", "English first\n\nשלום עולם\n\nEnglish last")
	b := newBrowser(t, p)
	b.sign()
	for wish, want := range map[string]bool{"reduce": false, "no-preference": true} {
		send(b.tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: wish}}})
		b.press("z") // "Nothing to undo"
		b.shows(".toast p")
		if moves := value[bool](&b.page, "document.getAnimations().length > 0"); moves != want {
			t.Errorf("with prefers-reduced-motion: %s something moves: %v, want %v", wish, moves, want)
		}
		b.until("the toast gone", `document.querySelector(".toast p") === null`)
	}

	b.open("/n/" + id)
	b.shows(".rich-editor")
	b.press("v")
	b.shows(".rendered p")
	const directions = `(root, selector) => [...root.querySelectorAll(selector)].filter((e) => e.textContent.trim() !== "")
		.map((e) => getComputedStyle(e).direction).join(" ")`
	for _, row := range []struct{ what, root, selector, want string }{
		{"the list", "document", ".row-title", "rtl"},
		{"the preview", "document", ".rendered p", "ltr rtl ltr"},
		{"the editor", `document.querySelector(".rich-editor").shadowRoot`, ".cm-line", "ltr rtl ltr"},
	} {
		if got := value[string](&b.page, fmt.Sprintf("(%s)(%s, %q)", directions, row.root, row.selector)); got != row.want {
			t.Errorf("%s is written %s, want %s", row.what, got, row.want)
		}
	}
	if got := value[string](&b.page, `getComputedStyle(document.querySelector(".title")).direction`); got != "rtl" {
		t.Errorf("the title is written %s, want rtl", got)
	}
	// The arrows go to where they point: in Hebrew, left is on.
	b.toEnd()
	b.press(kb.ArrowUp + kb.ArrowUp + kb.Home + kb.ArrowLeft + "!")
	b.until("the sign behind the first letter", noteText+`.includes("ש!לום עולם")`)
	b.quiet()
}
