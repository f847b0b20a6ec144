package e2e

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"notesd/internal/testserver"
)

// keptWithin is how long a keystroke may take to be safe in the browser.
const keptWithin = 300 * time.Millisecond

// Two browsers type 2000 characters in each of ROBOT rounds, into one note or into two, while the network is
// cut, a browser or the server is killed. Each word that was typed at least 300 ms before a kill is on
// the server in the end, and there once unless a clash has shown both sides.
func TestWebAppLoss(t *testing.T) {
	long(t, "two Chromiums, killed and started again")
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("ROBOT"), "2"))
	if err != nil || rounds < 1 {
		t.Fatalf("ROBOT=%s, want a number of rounds", os.Getenv("ROBOT"))
	}
	proof := newProof(t, "robot", fmt.Sprintf("ROBOT=%d", rounds))
	p := newUnraced(t, "LOG_LEVEL=error")
	p.start()
	p.awaitReady()
	c := p.member("ada@example.com")
	robots := []*robot{newRobot(t, p, "a"), newRobot(t, p, "b")}
	var total tally
	for round := range rounds {
		notes := []string{c.create(fmt.Sprintf("Round %d", round), "First line\n\nSecond line\n"), ""}
		if notes[1] = notes[0]; round%2 == 1 {
			notes[1] = c.create(fmt.Sprintf("Round %d, second", round), "First line\n\nSecond line\n")
		}
		var typing sync.WaitGroup
		for i, r := range robots {
			r.note = notes[i]
			typing.Go(func() { r.work(1000) })
		}
		stop := make(chan struct{})
		served := make(chan struct{})
		go func() {
			defer close(served)
			killNowAndThen(p, stop, &total)
		}()
		typing.Wait()
		close(stop)
		<-served
		p.awaitReady()
		for _, r := range robots {
			r.network.Set(testserver.Pass)
		}
		for _, r := range robots {
			r.settle()
		}
		for _, r := range robots {
			r.settle() // the other's answer to a clash is a change
		}
		var texts strings.Builder
		for _, n := range c.get("/api/notes").notes() {
			texts.WriteString(n.Content + "\n")
		}
		for _, r := range robots {
			total.count(t, r, texts.String())
		}
		t.Logf("round %d: %+v", round+1, total)
	}
	proof.Promise("words lost", "0", fmt.Sprintf("%d of %d", total.lost, total.words), total.lost == 0 && total.words > 0)
	proof.Promise("words that are there twice, without a clash", "0", fmt.Sprint(total.doubled), total.doubled == 0)
	proof.Promise("clashes shown", "–", fmt.Sprint(total.clashes), true)
	proof.Promise("kills of a browser, of the server, cuts of a network", "–",
		fmt.Sprintf("%d, %d, %d", total.browsers, total.servers, total.cuts), true)
	publish(t, proof)
	if err := proof.Judge(true); err != nil {
		t.Error(err)
	}
}

// A tally counts what came of words.
type tally struct{ words, lost, doubled, clashes, browsers, servers, cuts int }

// count looks for a robot's words in texts, and forgets them.
func (c *tally) count(t *testing.T, r *robot, texts string) {
	t.Helper()
	for _, word := range r.safe {
		c.words++
		switch n := strings.Count(texts, word); {
		case n == 0:
			c.lost++
			t.Errorf("%s is lost, of note %s", word, r.note)
		case n > 1 && r.clashes == 0:
			c.doubled++
			t.Errorf("%s is there %d times in note %s", word, n, r.note)
		}
	}
	c.clashes += r.clashes
	c.browsers += r.kills
	c.cuts += r.cuts
	r.safe, r.clashes, r.kills, r.cuts = nil, 0, 0, 0
}

// killNowAndThen kills the server and starts it again until stop is closed.
func killNowAndThen(p *process, stop <-chan struct{}, total *tally) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(2*time.Second + rand.N(6*time.Second)):
		}
		p.kill()
		time.Sleep(rand.N(2 * time.Second))
		p.start()
		p.awaitReady()
		total.servers++
	}
}

// A robot is somebody who types into the web app in a browser of its own.
type robot struct {
	*tab
	t       *testing.T
	name    string
	data    string // the browser's directory
	network *testserver.Proxy
	note    string
	words   int
	typed   []typedWord
	safe    []string // words that must be found
	clashes int
	kills   int
	cuts    int
}

type typedWord struct {
	word string
	at   time.Time
}

func newRobot(t *testing.T, p *process, name string) *robot {
	t.Helper()
	r := &robot{t: t, name: name, data: t.TempDir(), network: testserver.NewProxy(t, p.url)}
	r.tab = openTabOf(t, r.data)
	r.do(chromedp.Navigate(r.network.URL()+"/"), chromedp.WaitVisible("form"))
	r.signIn()
	(&page{driver: r.tab}).awaitWorker()
	return r
}

// signIn fills the form, and sends it until the server, which may be down, has answered.
func (r *robot) signIn() {
	r.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Second) {
		r.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(signInAgain, password)), chromedp.Sleep(time.Second))
		if !r.asksToSignIn() {
			return
		}
	}
	r.t.Fatalf("browser %s can't sign in", r.name)
}

func (r *robot) asksToSignIn() bool {
	r.t.Helper()
	return find(r.tab, chromedp.Evaluate[bool](`document.querySelector("[name=password]") !== null`))
}

// work types some characters, in words that are there once in the world, and lets things go wrong.
func (r *robot) work(characters int) {
	r.open()
	faults := 3
	for typed := 0; typed < characters; {
		r.words++
		word := fmt.Sprintf("%s%dz", r.name, r.words)
		for _, key := range word + " " {
			if !r.key(string(key)) {
				r.open()
				break
			}
			typed++
		}
		if !r.shows(word) { // the keyboard was elsewhere, as when the form to sign in has come
			r.open()
			continue
		}
		r.typed = append(r.typed, typedWord{word, time.Now()})
		if rand.N(12) == 0 {
			r.do(chromedp.KeyEvent(kb.Enter))
		}
		if rand.N(10) == 0 {
			time.Sleep(rand.N(1500 * time.Millisecond))
		}
		if faults > 0 && rand.N(characters/(6*faults)) < 4 {
			faults--
			r.goWrong()
		}
	}
	r.network.Set(testserver.Pass)
	time.Sleep(keptWithin)
	r.keep(time.Now())
}

// key types one character.
func (r *robot) key(text string) bool {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	_, err := chromedp.Call(ctx, input.InsertText, input.InsertTextParams{Text: text})
	return err == nil
}

// shows reports whether the editor has a word.
func (r *robot) shows(word string) bool {
	r.t.Helper()
	return find(r.tab, chromedp.Evaluate[bool](fmt.Sprintf(`[...document.querySelectorAll(".text *")].some(
		e => (e.value ?? e.shadowRoot?.textContent ?? "").includes(%q))`, word)))
}

// keep notes the words that were safe at a time, and forgets the others.
func (r *robot) keep(at time.Time) {
	for _, typed := range r.typed {
		if typed.at.Before(at.Add(-keptWithin)) {
			r.safe = append(r.safe, typed.word)
		}
	}
	r.typed = nil
}

func (r *robot) goWrong() {
	switch rand.N(3) {
	case 0: // the network is away for a while, in which typing goes on
		r.cuts++
		r.network.Set(testserver.Refuse)
		time.AfterFunc(500*time.Millisecond+rand.N(3*time.Second), func() { r.network.Set(testserver.Pass) })
	case 1: // the browser is killed
		r.kills++
		killed := time.Now()
		was := chromedp.FromContext(r.ctx).Browser
		_ = was.Process().Kill()
		r.keep(killed)
		<-was.LostConnection
		for _, name := range []string{"SingletonLock", "SingletonSocket", "SingletonCookie"} { // of a process that is still to be waited for
			_ = os.Remove(filepath.Join(r.data, name))
		}
		r.tab = openTabOf(r.t, r.data)
		r.open()
	case 2: // the tab is closed, and opened again
		r.kills++
		killed := time.Now()
		r.do(chromedp.Navigate("about:blank"))
		r.keep(killed)
		r.open()
	}
}

// open shows the note, and puts the cursor where the robot types: behind the first line, or at the end.
func (r *robot) open() {
	r.t.Helper()
	for range 20 { // a server that is just being killed, and a page that no worker has yet
		ctx, cancel := context.WithTimeout(r.ctx, patience)
		_, err := chromedp.Run(ctx, chromedp.Steps(chromedp.Navigate(r.network.URL()+"/n/"+r.note),
			chromedp.WaitVisible(".rich-editor, [name=password]")))
		cancel()
		if err == nil {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	if r.asksToSignIn() {
		r.signIn()
	}
	r.do(chromedp.WaitVisible(".rich-editor"), chromedp.Click(".text"))
	const ctrl = 2
	press := func(key string, code int64, modifiers int64) {
		for _, kind := range []string{"rawKeyDown", "keyUp"} {
			send(r.tab, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventType(kind), Key: key, Code: key,
				WindowsVirtualKeyCode: code, Modifiers: modifiers})
		}
	}
	if r.name == "a" {
		press("Home", 36, ctrl)
		press("End", 35, 0)
	} else {
		press("End", 35, ctrl)
	}
}

// settle waits until all is on the server. A clash is answered with both sides.
func (r *robot) settle() {
	r.t.Helper()
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if r.asksToSignIn() {
			r.signIn()
		}
		switch state := find(r.tab, chromedp.Evaluate[string](`document.querySelector(".state")?.className ?? ""`)); {
		case strings.Contains(state, "clash"):
			r.clashes++
			r.do(chromedp.WaitVisible(".clash .primary"), chromedp.Click(".clash .primary"), chromedp.Sleep(300*time.Millisecond))
		case strings.Contains(state, "saved"):
			return
		}
	}
	r.t.Errorf("browser %s has not saved everything: %s", r.name, r.text(".state"))
}
