package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"golang.org/x/net/websocket"

	"notesd/internal/testserver"
)

// The newcomer's walk in Firefox, and what is typed there without a network.
func TestFirefox(t *testing.T) {
	t.Parallel()
	fox := startFirefox(t)
	p := start(t, "LOG_LEVEL=warn")
	first, old := walk(fox.page(p), fox.page(p), func(*page, string) {})
	t.Logf("a first note took %v; an older version %v", first, old)
	other := start(t, "LOG_LEVEL=warn")
	c := other.member("ada@example.com")
	c.create("Old", "text")
	b := fox.page(other)
	keeps(b, c)
	// An error would be seen.
	b.evaluate(`document.body.append(Object.assign(document.createElement("style"), {textContent: "a {}"}))`)
	p.await("the refused style on the console", func() bool {
		return strings.Contains(strings.Join(b.complaints(), " "), "style-src")
	})
}

// A firefox is a running Firefox, controlled by WebDriver BiDi (https://www.w3.org/TR/webdriver-bidi/).
type firefox struct {
	t    *testing.T
	conn *websocket.Conn

	mu      sync.Mutex // guards what follows
	id      int        // of the last command
	waiting map[int]chan<- bidiMessage
	tabs    map[string]*foxTab // by their context
}

// A bidiMessage is an answer to a command or an event.
type bidiMessage struct {
	ID      *int            `json:"id"`
	Type    string          `json:"type"`
	Error   string          `json:"error"`
	Message string          `json:"message"`
	Result  json.RawMessage `json:"result"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

// startFirefox starts a Firefox with an empty profile, and skips the test where there is none. It ends with the test.
func startFirefox(t *testing.T) *firefox {
	t.Helper()
	long(t, "Firefox")
	program, err := exec.LookPath("firefox-esr")
	if err != nil {
		t.Skip("needs Firefox (Debian: apt-get install firefox-esr)")
	}
	home := t.TempDir()
	cmd := exec.Command(program, "--headless", "--no-remote", "--profile", home, "--remote-debugging-port", "0",
		"--remote-allow-origins", "http://127.0.0.1")
	cmd.Env = append(os.Environ(), "HOME="+home)
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	addresses := make(chan string, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if _, address, ok := strings.Cut(lines.Text(), "WebDriver BiDi listening on "); ok {
				addresses <- address
			}
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reading.Wait()
		_ = cmd.Wait() // it was killed
	})
	fox := &firefox{t: t, waiting: map[int]chan<- bidiMessage{}, tabs: map[string]*foxTab{}}
	select {
	case address := <-addresses:
		if fox.conn, err = websocket.Dial(address+"/session", "", "http://127.0.0.1"); err != nil {
			t.Fatal(err)
		}
	case <-time.After(2 * patience):
		t.Fatal("Firefox does not listen")
	}
	reading.Go(fox.read)
	fox.call("session.new", map[string]any{"capabilities": map[string]any{}}, nil)
	fox.call("session.subscribe", map[string]any{"events": []string{"log.entryAdded"}}, nil)
	return fox
}

// read takes messages until Firefox ends.
func (fox *firefox) read() {
	for {
		var m bidiMessage
		if err := websocket.JSON.Receive(fox.conn, &m); err != nil {
			return
		}
		fox.mu.Lock()
		if m.ID != nil && fox.waiting[*m.ID] != nil {
			fox.waiting[*m.ID] <- m
			delete(fox.waiting, *m.ID)
		} else if m.Method == "log.entryAdded" {
			var entry struct {
				Level, Text string
				Source      struct{ Context string }
			}
			if json.Unmarshal(m.Params, &entry) == nil && (entry.Level == "error" || entry.Level == "warn") {
				if tab := fox.tabs[entry.Source.Context]; tab != nil {
					tab.said = append(tab.said, entry.Level+" "+entry.Text)
				}
			}
		}
		fox.mu.Unlock()
	}
}

// call sends a command and decodes its result into `into`, if it is not nil.
func (fox *firefox) call(method string, params, into any) {
	fox.t.Helper()
	answer := make(chan bidiMessage, 1)
	fox.mu.Lock()
	fox.id++
	id := fox.id
	fox.waiting[id] = answer
	err := websocket.JSON.Send(fox.conn, map[string]any{"id": id, "method": method, "params": params})
	fox.mu.Unlock()
	if err != nil {
		fox.t.Fatalf("%s: %v", method, err)
	}
	select {
	case m := <-answer:
		if m.Type == "error" {
			fox.t.Fatalf("%s: %s: %s", method, m.Error, m.Message)
		}
		if into != nil {
			if err := json.Unmarshal(m.Result, into); err != nil {
				fox.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-time.After(2 * patience):
		fox.t.Fatalf("%s: no answer in %v", method, 2*patience)
	}
}

// A foxTab is a tab with cookies and storage of its own.
type foxTab struct {
	*firefox
	context string
	said    []string // on its console; guarded by mu
}

// page opens the web app in a tab.
func (fox *firefox) page(p *process) *page {
	fox.t.Helper()
	var user struct{ UserContext string }
	fox.call("browser.createUserContext", map[string]any{}, &user)
	var created struct{ Context string }
	fox.call("browsingContext.create", map[string]any{"type": "window", "userContext": user.UserContext}, &created)
	tab := &foxTab{firefox: fox, context: created.Context}
	fox.mu.Lock()
	fox.tabs[tab.context] = tab
	fox.mu.Unlock()
	opened := &page{driver: tab, network: testserver.NewProxy(fox.t, p.url)}
	opened.open("/")
	opened.shows("form")
	return opened
}

func (tab *foxTab) testing() *testing.T { return tab.t }

func (tab *foxTab) navigate(url string) {
	tab.t.Helper()
	tab.call("browsingContext.navigate", map[string]any{"context": tab.context, "url": url, "wait": "complete"}, nil)
}

func (tab *foxTab) reload() {
	tab.t.Helper()
	tab.call("browsingContext.reload", map[string]any{"context": tab.context, "wait": "complete"}, nil)
}

func (tab *foxTab) evaluate(script string) string {
	tab.t.Helper()
	var answer struct {
		Type             string
		Result           struct{ Value any }
		ExceptionDetails struct{ Text string }
	}
	tab.call("script.evaluate", map[string]any{"expression": script, "awaitPromise": true,
		"target": map[string]any{"context": tab.context}}, &answer)
	if answer.Type == "exception" {
		tab.t.Fatalf("%s: %s", script, answer.ExceptionDetails.Text)
	}
	text, _ := answer.Result.Value.(string)
	return text
}

// foxKeys are WebDriver's names for keys that type nothing.
var foxKeys = map[string]string{kb.Enter: "\ue006", kb.Tab: "\ue004", kb.Escape: "\ue00c", kb.End: "\ue010",
	kb.Home: "\ue011", kb.Control: "\ue009"}

func (tab *foxTab) press(keys string) {
	tab.t.Helper()
	var actions []map[string]string
	for _, r := range keys {
		actions = append(actions, foxKey("keyDown", r), foxKey("keyUp", r))
	}
	tab.perform(actions)
}

func (tab *foxTab) pressControl(key rune) {
	tab.t.Helper()
	control := []rune(kb.Control)[0]
	tab.perform([]map[string]string{foxKey("keyDown", control), foxKey("keyDown", key), foxKey("keyUp", key),
		foxKey("keyUp", control)})
}

func foxKey(kind string, key rune) map[string]string {
	text := string(key)
	if name, ok := foxKeys[text]; ok {
		text = name
	}
	return map[string]string{"type": kind, "value": text}
}

func (tab *foxTab) perform(actions []map[string]string) {
	tab.t.Helper()
	keyboard := map[string]any{"type": "key", "id": "keyboard", "actions": actions}
	tab.call("input.performActions", map[string]any{"context": tab.context, "actions": []any{keyboard}}, nil)
}

func (tab *foxTab) complaints() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return tab.said
}
