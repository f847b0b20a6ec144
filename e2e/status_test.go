package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// fullPool keeps every worker busy with people, each from an address of their own,
// who ask for what takes d, until the test ends.
func (p *process) fullPool(people int, d time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range people {
		all.Go(func() {
			w := p.from(i)
			defer w.close()
			for ctx.Err() == nil {
				if w.dial() != nil {
					w = p.from(i)
					time.Sleep(pauseRefused)
					continue
				}
				r, err := w.do(http.MethodGet, "/api/fault/slow?for="+d.String(), "")
				if err != nil || r.status != http.StatusOK {
					time.Sleep(pauseRefused)
				}
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	p.t.Cleanup(stop)
	return stop
}

// from is a connection from the i-th address of many. It is closed if it could not be opened.
func (p *process) from(i int) *wire {
	w := &wire{t: p.t, addr: p.addr()}
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 2, byte(i/250), byte(1+i%250))}}
	if conn, err := dialer.Dial("tcp", w.addr); err == nil {
		w.use(conn)
	}
	return w
}

// The status page while every worker is busy and people are turned away: it
// asks for the token, keeps up second by second, and neither the console nor
// axe has anything to say, on a phone and on a screen, light and dark.
// SCREENSHOT=file has it write what it looks like.
func TestStatusPage(t *testing.T) {
	in := newTab(t)
	p := start(t, "ADMIN_TOKEN="+adminToken, "WORKERS_PER_SHARD=8", "MAX_WORKERS=1", "QUEUE_LENGTH=16", "LOG_LEVEL=warn")
	in.do(chromedp.Navigate(p.url+"/status"), chromedp.WaitVisible("#token"))
	if shown := in.text("#verdict") + in.text("#process") + in.text("#checks tbody"); shown != "" {
		t.Errorf("without the token the page shows %q", shown)
	}
	in.axe("signing in")
	in.do(chromedp.SendKeys("#token", adminToken+kb.Enter), chromedp.WaitVisible("#charts"))
	in.await("#verdict", "Ready. All is well.")

	ada := p.member("ada@example.com")
	startLoad(ada, 2, everyday(ada.create("first", "of many")))
	p.fullPool(40, 150*time.Millisecond)
	in.await("#verdict", "turning requests away")
	in.follow(6 * time.Second)

	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 1280} {
			name := fmt.Sprintf("%s, %d pixels wide", scheme, width)
			in.look(scheme, width)
			time.Sleep(2 * time.Second) // with figures of this size
			in.axe(name)
			if wide := find(in, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); wide > width {
				t.Errorf("%s: the page is %d pixels wide", name, wide)
			}
		}
	}
	in.screenshot()
	in.unseen()
	in.calm(p.url)
}

// look has the page in a colour scheme, so many pixels wide.
func (in *tab) look(scheme string, width int64) {
	in.t.Helper()
	in.do(chromedp.EmulateViewport(width, 900))
	send(in, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// follow watches the page for d: it must show a full pool, and another second each second.
func (in *tab) follow(d time.Duration) {
	in.t.Helper()
	seen, full := map[string]bool{}, 0
	looks := 0
	for began := time.Now(); time.Since(began) < d; time.Sleep(100 * time.Millisecond) {
		looks++
		seen[in.text("#process")] = true
		if strings.Contains(in.text("#pool"), "8 of 8 workers busy") {
			full++
		}
	}
	if least := int(d.Seconds()) - 2; len(seen) < least || full < looks*9/10 {
		in.t.Errorf("in %v the page showed %d different seconds, want %d at least, and in %d of %d looks a full pool", d, len(seen), least, full, looks)
	}
	in.t.Logf("in %v the page showed %d different seconds, and in %d of %d looks a full pool", d, len(seen), full, looks)
}

// unseen hides the page, which then must ask for nothing.
func (in *tab) unseen() {
	in.t.Helper()
	hide := func(hidden bool) {
		in.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`Object.defineProperty(document, "hidden", {value: %v, configurable: true});
			document.dispatchEvent(new Event("visibilitychange"))`, hidden)))
	}
	hide(true)
	time.Sleep(time.Second) // for what is under way
	before := in.requests()
	time.Sleep(3 * time.Second)
	if n := in.requests() - before; n != 0 {
		in.t.Errorf("hidden, the page asked %d times", n)
	}
	hide(false)
	time.Sleep(2 * time.Second)
	if in.requests() == before {
		in.t.Error("seen again, the page did not ask")
	}
}

// screenshot writes the page as it is to the file that SCREENSHOT names.
func (in *tab) screenshot() {
	in.t.Helper()
	file := os.Getenv("SCREENSHOT")
	if file == "" {
		return
	}
	in.look("light", 1280)
	in.do(chromedp.EmulateViewport(1280, 1150), chromedp.Sleep(2*time.Second))
	if err := os.WriteFile(file, find(in, chromedp.CaptureScreenshot()), 0o644); err != nil {
		in.t.Fatal(err)
	}
}

// Who has no token, or a wrong one, is told so and sees nothing.
func TestStatusStranger(t *testing.T) {
	t.Parallel()
	in := newTab(t)
	p := start(t, "ADMIN_TOKEN="+adminToken)
	in.do(chromedp.Navigate(p.url+"/status"), chromedp.WaitVisible("#token"),
		chromedp.SendKeys("#token", "a guess"+kb.Enter))
	in.await("#refused", "That is not the token.")
	const nothing = `document.getElementById("figures").hidden && sessionStorage.length === 0 && document.cookie === ""`
	if !find(in, chromedp.Evaluate[bool](nothing)) {
		t.Error("with a wrong token the figures are shown, or the token was kept")
	}
}

// The link that the server prints has the token, which the page takes out of
// the address bar and keeps for this tab. The page says when the server has
// gone, and goes on when it is back.
func TestStatusLostContact(t *testing.T) {
	t.Parallel()
	in := newTab(t)
	p := start(t)
	in.do(chromedp.Navigate(p.url+"/status"), chromedp.WaitVisible("#token"))
	in.do(chromedp.Navigate(p.url + "/status#token=" + adminToken)) // which loads nothing: only the hash is new
	in.await("#verdict", "Ready. All is well.")
	const kept = `location.href.endsWith("/status") && document.cookie === "" && localStorage.length === 0 && Object.values(sessionStorage)[0]`
	if got := find(in, chromedp.Evaluate[any](kept)); got != adminToken {
		t.Errorf("the page has kept %v, want the token in sessionStorage alone, and the address without it", got)
	}
	in.do(chromedp.Reload())
	in.await("#verdict", "Ready. All is well.")
	in.calm(p.url)
	p.kill()
	in.await("#verdict", "No contact with the server since")
	p.start()
	in.await("#verdict", "Ready. All is well.")

	in.do(chromedp.Click("#pause"))
	in.await("#verdict", "Paused.")
	time.Sleep(time.Second) // for what is under way
	before := in.requests()
	time.Sleep(2 * time.Second)
	if n := in.requests() - before; n != 0 {
		t.Errorf("paused, the page asked %d times", n)
	}
	in.do(chromedp.Click("#pause"))
	in.await("#verdict", "Ready. All is well.")
}
