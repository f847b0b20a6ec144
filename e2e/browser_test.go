package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A tab is one in a Chromium of its own, with all it said and asked for.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex // guards what follows
	errors []string   // on its console, and exceptions
	asked  []string   // URLs
}

// reboundName is a name of somebody else's that leads to this machine.
const reboundName = "rebound.example.com"

// newTab opens one in a test that is not short.
func newTab(t *testing.T) *tab {
	t.Helper()
	long(t, "Chromium")
	return openTab(t)
}

// openTab opens one, and skips the test where there is no Chromium.
func openTab(t *testing.T) *tab {
	t.Helper()
	return openTabOf(t, t.TempDir())
}

// openTabOf opens one in a Chromium that keeps its data in a directory.
func openTabOf(t *testing.T, data string, more ...chromedp.ExecAllocatorOption) *tab {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("needs Chromium (Debian: apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, // root has no other way
		chromedp.UserDataDir(data), chromedp.Flag("host-resolver-rules", "MAP "+reboundName+" 127.0.0.1"))
	browser, closeBrowser := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	ctx, closeTab := chromedp.NewContext(browser)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // it waits for the browser to end
		closeTab()
		closeBrowser()
	})
	in := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, in.listen); err != nil {
		t.Fatal(err)
	}
	send(in, network.Enable, network.EnableParams{})
	send(in, log.Enable, cdp.Empty{})
	send(in, runtime.Enable, cdp.Empty{})
	return in
}

func (in *tab) listen(event any) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		in.errors = append(in.errors, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			in.errors = append(in.errors, fmt.Sprintf("%s %+v", e.Type, e.Args))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			in.errors = append(in.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		in.asked = append(in.asked, e.Request.URL)
	}
}

// do does one thing after the other, within patience.
func (in *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	in.t.Helper()
	find(in, chromedp.Steps(steps...))
}

// find is what an action finds, within patience.
func find[T any](in *tab, action chromedp.Action[T]) T {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(in.ctx, patience)
	defer cancel()
	found, err := chromedp.Run(ctx, action)
	if err != nil {
		in.t.Fatal(err)
	}
	return found
}

func (in *tab) testing() *testing.T { return in.t }

func (in *tab) navigate(url string) {
	in.t.Helper()
	in.do(chromedp.Navigate(url))
}

func (in *tab) reload() {
	in.t.Helper()
	in.do(chromedp.Reload())
}

func (in *tab) evaluate(script string) string {
	in.t.Helper()
	result := find(in, chromedp.Evaluate[*runtime.RemoteObject](script, chromedp.EvalAwaitPromise))
	text := ""
	_ = json.Unmarshal(result.Value, &text) // what is no string is not asked for
	return text
}

// press has a key that the page handles type nothing, other than chromedp.KeyEvent.
func (in *tab) press(keys string) {
	in.t.Helper()
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
			send(in, input.DispatchKeyEvent, *k)
		}
	}
}

func (in *tab) pressControl(key rune) {
	in.t.Helper()
	in.do(chromedp.KeyEvent(string(key), chromedp.KeyModifiers(kb.ModifierCtrl)))
}

func (in *tab) complaints() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.errors)
}

// send sends one of the protocol's commands.
func send[P, R any](in *tab, c cdp.Command[P, R], params P) {
	in.t.Helper()
	if _, err := chromedp.Call(in.ctx, c, params); err != nil {
		in.t.Fatal(err)
	}
}

// text is what stands in the first element of a selector.
func (in *tab) text(selector string) string {
	in.t.Helper()
	return find(in, chromedp.Evaluate[string](fmt.Sprintf("document.querySelector(%q).textContent", selector)))
}

// await returns once the element's text holds what is wanted.
func (in *tab) await(selector, want string) {
	in.t.Helper()
	text := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if text = in.text(selector); strings.Contains(text, want) {
			return
		}
	}
	in.t.Fatalf("%s says %q after %v, want %q", selector, text, patience, want)
}

// calm fails the test if the console has an error, or anything was asked for elsewhere than at url.
func (in *tab) calm(url string) {
	in.t.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, e := range in.errors {
		in.t.Errorf("the console has %s", e)
	}
	for _, asked := range in.asked {
		if !strings.HasPrefix(asked, url+"/") && !strings.HasPrefix(asked, "data:") {
			in.t.Errorf("asked for %s, want %s alone", asked, url)
		}
		if strings.Contains(asked, adminToken) {
			in.t.Errorf("asked for %s: the token stands in it", asked)
		}
	}
}

// requests is how many there were.
func (in *tab) requests() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.asked)
}

// axe fails the test if axe-core finds anything.
func (in *tab) axe(when string) {
	in.t.Helper()
	for _, found := range in.axeFinds(when) {
		in.t.Error(found)
	}
}

// axeFinds is what axe-core finds, in words.
func (in *tab) axeFinds(when string) (words []string) {
	in.t.Helper()
	script, err := os.ReadFile("testdata/axe-core/axe.min.js")
	if err != nil {
		in.t.Fatal(err)
	}
	const ask = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
		.then(r => ({passes: r.passes.length, violations: r.violations.map(v => ({id: v.id, help: v.help, times: v.nodes.length,
			html: v.nodes[0].html, summary: v.nodes[0].failureSummary}))}))`
	in.do(chromedp.Evaluate[chromedp.Void](string(script) + ";0"))
	found := find(in, chromedp.Evaluate[axeFindings](ask, chromedp.EvalAwaitPromise))
	if found.Passes < 10 {
		in.t.Errorf("%s: axe made only %d checks", when, found.Passes)
	}
	for _, v := range found.Violations {
		words = append(words, fmt.Sprintf("%s: axe finds %s (%s) %d times, as in %s: %s", when, v.ID, v.Help, v.Times, v.HTML, v.Summary))
	}
	return words
}

// axeFindings are axe's.
type axeFindings struct {
	Passes     int `json:"passes"`
	Violations []struct {
		ID      string `json:"id"`
		Help    string `json:"help"`
		Times   int    `json:"times"`
		HTML    string `json:"html"`
		Summary string `json:"summary"`
	} `json:"violations"`
}
