package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"notesd/bench"
	"notesd/bench/lab"
)

// slowdown is how much slower than this machine's the CPU is on which the web app is measured.
const slowdown = 4

// The web app with NOTES notes and their texts in the browser, on a CPU that is four times slower than this one: its
// start, searches, typing into long notes, and its memory. The browser slows the page's own thread, not its workers. It
// publishes the figures, and fails only if there is something that was not measured.
func TestWebAppSpeed(t *testing.T) {
	if raced() {
		t.Skip("it measures, for minutes: make prove NAME=webspeed")
	}
	count, err := strconv.Atoi(cmp.Or(os.Getenv("NOTES"), "50000"))
	if err != nil || count < 100 {
		t.Fatalf("NOTES=%s, want a number from 100 on", os.Getenv("NOTES"))
	}
	p := newUnraced(t, "LOG_LEVEL=warn")
	p.start()
	p.awaitReady()
	p.member("ada@example.com")
	p.stop()
	_, words, err := lab.Seed(t.Context(), p.data("notes.db"), count)
	if err != nil {
		t.Fatal(err)
	}
	p.start()
	p.awaitReady()
	c := p.visitor()
	c.signIn("person-0@example.com", password).want(http.StatusOK)
	report := newProof(t, "webspeed", fmt.Sprintf("NOTES=%d", count))
	s := &stopwatch{browser: newBrowser(t, p), report: report}

	began := time.Now()
	s.signAs("person-0@example.com")
	first := time.Since(began)
	s.untilWithin(5*time.Minute, "the whole list", s.whole(count))
	report.Notes = append(report.Notes, fmt.Sprintf("Before, on a CPU as it is, a new browser had the first notes "+
		"%.1f s after the sign-in, the list of all after %.1f s.", first.Seconds(), time.Since(began).Seconds()))
	began = time.Now()
	s.fetchAll()
	report.Notes = append(report.Notes, fmt.Sprintf("It had all texts, of a kilobyte each, %.1f s after it was "+
		"asked for them.", time.Since(began).Seconds()))

	send(s.tab, cdppage.AddScriptToEvaluateOnNewDocument,
		cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: stopwatchScript})
	send(s.tab, emulation.SetCPUThrottlingRate, emulation.SetCPUThrottlingRateParams{Rate: slowdown})
	t.Run("start", func(t *testing.T) { s.of(t).starts(count) })
	t.Run("search", func(t *testing.T) { s.of(t).searches(words) })
	t.Run("memory", func(t *testing.T) { s.of(t).memory() })
	lines := func(n int, line string) string { return strings.Repeat(line+"\n", n) }
	prose := lines(2500, "## Some words with a [link](https://example.com) and **more** than one `sign` in them")
	var nested strings.Builder
	for i := range 2000 {
		nested.WriteString(strings.Repeat("  ", i%100) + "- item\n")
	}
	for _, note := range []struct {
		what, text string
		goal       float64
	}{
		{"a note of 200 KB", prose[:200_000], 50},
		{"a note of 1 MB", strings.Repeat(prose, 6)[:1_000_000], 100},
		{"one line of 1 MB", strings.Repeat("word ", 200_000), 100},
		{"10 000 check boxes", lines(10_000, "- [ ] buy something"), 100},
		{"lists in lists, 100 deep", nested.String(), 100},
	} {
		t.Run(note.what, func(t *testing.T) { s.of(t).types(c, note.what, note.text, note.goal) })
	}
	publish(t, report)
	s.quiet()
}

// A stopwatch measures what a person in front of a browser waits for.
type stopwatch struct {
	*browser
	report *bench.Report
}

// stopwatchScript notes when things can be seen: the first row, and after each key what it typed, and the first and the
// last change of the list.
const stopwatchScript = `(() => {
	const w = window.stopwatch = {rows: null, key: 0, typed: [], first: null, last: null};
	const painted = (done) => requestAnimationFrame(() => {
		const { port1, port2 } = new MessageChannel();
		port1.onmessage = () => done(performance.now());
		port2.postMessage(0);
	});
	addEventListener("keydown", (e) => { w.key = e.timeStamp; w.first = w.last = null; }, true);
	addEventListener("input", () => { const key = w.key; painted((at) => w.typed.push(at - key)); }, true);
	new MutationObserver((all) => {
		if (w.rows === null && document.querySelector(".row")) w.rows = painted((at) => (w.rows = at)) ?? 0;
		if (!all.some((m) => m.target.parentElement?.closest("#list") || m.target.id === "list")) return;
		const key = w.key;
		painted((at) => { if (key === w.key) { w.first ??= at - key; w.last = at - key; } });
	}).observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
})()`

// of is the stopwatch in a subtest.
func (s *stopwatch) of(t *testing.T) *stopwatch {
	in := &tab{t: t, ctx: s.ctx}
	return &stopwatch{&browser{in, page{driver: in, network: s.network}}, s.report}
}

// find evaluates a script.
func (s *stopwatch) find(script string) float64 {
	s.t.Helper()
	return find(s.tab, chromedp.Evaluate[float64](script))
}

// signAs signs in, and returns when the list is there.
func (b *browser) signAs(email string) {
	b.t.Helper()
	b.do(chromedp.SendKeys("[name=email]", email), chromedp.SendKeys("[name=password]", password+kb.Enter),
		chromedp.WaitVisible(".row"))
}

// whole is a script that says whether the list is complete.
func (s *stopwatch) whole(count int) string {
	// The others are in the archive and in the trash.
	return fmt.Sprintf(`Number(document.querySelector(".row")?.ariaSetSize) > %d`, count*3/4)
}

// fetchAll has the browser keep the text of every note.
func (s *stopwatch) fetchAll() {
	s.t.Helper()
	s.open("/#account")
	s.click("Fetch all notes")
	s.untilWithin(10*time.Minute, "all texts", `document.body.textContent.includes("All notes are on this device.")`)
}

// starts measures how long the app takes to show notes that it has.
func (s *stopwatch) starts(count int) {
	s.t.Helper()
	var rows, whole []float64
	for range 7 {
		s.do(chromedp.Navigate("about:blank"), chromedp.Sleep(500*time.Millisecond))
		s.open("/")
		s.until("the list", s.whole(count))
		whole = append(whole, s.find(`performance.now()`))
		rows = append(rows, s.find(`stopwatch.rows`))
		s.do(chromedp.Sleep(2 * time.Second))
	}
	s.goal("start to the first rows, warm", rows, 0.5, 1000)
	s.goal("start to the list of all", whole, 0.5, 0)
}

// searches measures from each letter of words that are searched for to the notes with them.
func (s *stopwatch) searches(words map[string][]string) {
	s.t.Helper()
	for _, kind := range []string{"common", "rare", "absent"} {
		var first, last []float64
		for _, word := range words[kind][:3] {
			s.press(kb.Escape + "/")
			for _, letter := range word {
				s.press(string(letter))
				for last := -1.0; last < s.find(`stopwatch.last ?? 0`); {
					last = s.find(`stopwatch.last ?? 0`)
					s.do(chromedp.Sleep(300 * time.Millisecond))
				}
				if at := s.find(`stopwatch.first ?? 0`); at > 0 {
					first, last = append(first, at), append(last, s.find(`stopwatch.last`))
				}
			}
			s.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#search").select()`))
			s.press(kb.Backspace)
			s.do(chromedp.Sleep(500 * time.Millisecond))
		}
		s.goal("a letter of a "+kind+" word to the first notes with it", first, 0.95, 100)
		s.goal("a letter of a "+kind+" word to all notes with it", last, 0.95, 0)
	}
}

// types measures from a key to its letter in a note with a text, without the preview and beside it.
func (s *stopwatch) types(c *client, what, text string, goal float64) {
	s.t.Helper()
	id := c.create(what, text)
	s.open("/n/" + id)
	s.untilWithin(time.Minute, "an editor with "+what, `document.querySelector(".rich-editor, .plain-editor") !== null`)
	s.do(chromedp.Sleep(time.Second))
	shown := s.find(`document.querySelector(".rich-editor") ? 1 : 0`)
	for _, beside := range []string{"", ", beside the preview"} {
		if beside != "" {
			s.press(kb.Escape + "v")
			s.until("the preview", `document.querySelector(".rendered")?.hasChildNodes() ||
				document.querySelector(".preview .banner") !== null`)
			s.do(chromedp.Sleep(time.Second))
		}
		s.do(chromedp.Evaluate[chromedp.Void](`(document.querySelector(".plain-editor") ??
			document.querySelector(".rich-editor").shadowRoot.querySelector(".cm-content")).focus()`),
			chromedp.Evaluate[chromedp.Void](`stopwatch.typed = []`))
		for i := range 60 {
			s.press(string("nine letters and more"[i%21]))
			s.do(chromedp.Sleep(60 * time.Millisecond))
			s.until("the letter", fmt.Sprintf(`stopwatch.typed.length > %d`, i))
		}
		var typed []float64
		all := find(s.tab, chromedp.Evaluate[string](`JSON.stringify(stopwatch.typed)`))
		if err := json.Unmarshal([]byte(all), &typed); err != nil {
			s.t.Fatal(err)
		}
		if len(typed) < 60 {
			s.t.Errorf("%s%s: %d of 60 letters were seen", what, beside, len(typed))
		}
		s.goal("a key in "+what+beside+map[float64]string{0: ", plain"}[shown], typed, 0.95, goal)
	}
	s.saved()
}

// memory measures what the page holds.
func (s *stopwatch) memory() {
	s.t.Helper()
	send(s.tab, heapprofiler.CollectGarbage, cdp.Empty{})
	heap := s.find(`performance.memory.usedJSHeapSize`) / 1e6
	s.report.Promise("memory of the page's scripts", "≤ 150 MB", fmt.Sprintf("%.0f MB", heap), heap <= 150)
	s.report.Promise("private memory of its process", "–", fmt.Sprintf("%.0f MB", s.private()), true)
}

// private is the private memory of the largest renderer, in MB.
func (s *stopwatch) private() float64 {
	largest := 0.0
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range all {
		line, _ := os.ReadFile(file)
		if !strings.Contains(string(line), "--type=renderer") {
			continue
		}
		rollup, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "smaps_rollup"))
		sum := 0.0
		for row := range strings.Lines(string(rollup)) {
			if f := strings.Fields(row); len(f) > 1 && strings.HasPrefix(f[0], "Private_") {
				kb, _ := strconv.ParseFloat(f[1], 64)
				sum += kb / 1000
			}
		}
		largest = max(largest, sum)
	}
	return largest
}

// goal puts a quantile of measured times, in ms, beside a goal; 0: there is none.
func (s *stopwatch) goal(what string, times []float64, quantile, most float64) {
	s.t.Helper()
	if len(times) == 0 {
		s.t.Errorf("%s was not measured", what)
		return
	}
	slices.Sort(times)
	got := times[int(quantile*float64(len(times)-1)+0.5)]
	want := "–"
	if most > 0 {
		want = fmt.Sprintf("≤ %.0f ms", most)
	}
	measured := fmt.Sprintf("%.0f ms (%.0f–%.0f)", got, times[0], times[len(times)-1])
	s.t.Logf("%s: %s", what, measured)
	what = fmt.Sprintf("%s: p%.0f of %d", what, quantile*100, len(times))
	s.report.Promise(what, want, measured, most == 0 || got <= most)
}
