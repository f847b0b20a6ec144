package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// What pages of other origins have a real browser do: a front end of a trusted
// origin reads and writes with the session; a page at another port of the same
// host, whose requests carry the cookie as well, has nothing read; a link on it
// works; a page whose name was made to lead here is not answered.
func TestForeignPages(t *testing.T) {
	t.Parallel()
	in := newTab(t)
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>a page</title>")
	}
	frontEnd, stranger := httptest.NewServer(http.HandlerFunc(page)), httptest.NewServer(http.HandlerFunc(page))
	t.Cleanup(frontEnd.Close)
	t.Cleanup(stranger.Close)
	p := start(t, "CORS_ORIGIN="+frontEnd.URL, "LOG_LEVEL=debug")
	ask := func(method, path, options string) string {
		return find(in, chromedp.Evaluate[string](fmt.Sprintf(`fetch(%q, {method: %q, credentials: "include", %s})
			.then(r => r.status + " " + new URL(r.url).pathname).catch(e => e.name)`, p.url+path, method, options),
			chromedp.EvalAwaitPromise))
	}
	asked := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	refused := func() (n int) {
		for _, e := range p.log.With("request") {
			if e.Text("route") == "/api/notes" && e.Number("status") == http.StatusForbidden {
				n++
			}
		}
		return n
	}

	in.do(chromedp.Navigate(frontEnd.URL))
	const json = `headers: {"Content-Type": "application/json"}, body: `
	asked("signing up", ask("POST", "/api/auth/register", json+`'{"email":"ada@example.com","password":"correct horse"}'`), "201 /api/auth/register")
	asked("writing", ask("POST", "/api/notes", json+`'{"title":"a","content":"b"}'`), "201 /api/notes")
	asked("reading", ask("GET", "/api/notes?search=b", ""), "200 /api/notes")
	if n := refused(); n != 0 {
		t.Errorf("%d requests of the front end were refused", n)
	}

	in.do(chromedp.Navigate(stranger.URL))
	asked("a stranger's search without CORS", ask("GET", "/api/notes?search=b", `mode: "no-cors"`), "TypeError") // by Cross-Origin-Resource-Policy
	asked("a stranger's search", ask("GET", "/api/notes?search=b", ""), "TypeError")
	p.await("two refusals in the log", func() bool { return refused() == 2 })

	in.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("location.href = %q", p.url+"/api/notes?search=b")))
	in.await("body", `"title":"a"`)

	rebound := strings.Replace(p.url, "127.0.0.1", reboundName, 1)
	in.do(chromedp.Navigate(rebound + "/api/health"))
	in.await("body", "ALLOWED_HOSTS")
	asked("signing up from a rebound name", find(in, chromedp.Evaluate[string](fmt.Sprintf(
		`fetch("/api/auth/register", {method: "POST", %s'{"email":"eve@example.com","password":"correct horse"}'}).then(r => String(r.status))`, json),
		chromedp.EvalAwaitPromise)), "421")
}
