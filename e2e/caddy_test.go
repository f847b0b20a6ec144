package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// behindCaddy starts the real Caddy with the settings of deploy/Caddyfile in
// front of processes, and returns the server that they are together.
func behindCaddy(t *testing.T, replicas ...*process) *process {
	t.Helper()
	var addresses []string
	for _, p := range replicas {
		addresses = append(addresses, p.addr())
	}
	return startCaddy(t, addresses...)
}

func startCaddy(t *testing.T, addresses ...string) *process {
	t.Helper()
	long(t, "Caddy")
	need(t, "caddy")
	text, err := os.ReadFile("../deploy/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	settings := strings.NewReplacer("notesd:3001 notesd-2:3001", strings.Join(addresses, " "),
		"\tskip_install_trust\n", "\tskip_install_trust\n\tadmin off\n").Replace(string(text))
	if strings.Count(settings, addresses[0]) != 2 || !strings.Contains(settings, "admin off") {
		t.Fatalf("deploy/Caddyfile names its replicas otherwise than notesd:3001 notesd-2:3001:\n%s", settings)
	}
	dir, url := t.TempDir(), fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	file := filepath.Join(dir, "Caddyfile")
	write(t, file, settings)
	cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", file)
	cmd.Env = append(os.Environ(), "HOME="+dir, "SITE_ADDRESS="+url)
	runBeside(t, cmd, url+"/readyz")
	return outside(t, url)
}

// What has reached a replica that dies of it is not sent to another, unless it
// is a GET: it may have been done.
func TestCaddySendsOnce(t *testing.T) {
	t.Parallel()
	long(t, "Caddy")
	for _, row := range []struct {
		method, body string
		times        int64
		status       int
	}{
		{http.MethodGet, "", 2, http.StatusOK},
		{http.MethodPost, `{"title":"once"}`, 1, http.StatusBadGateway},
		{http.MethodPatch, `{"title":"once"}`, 1, http.StatusBadGateway},
		{http.MethodPatch, "", 1, http.StatusBadGateway}, // a flag is flipped without a body
		{http.MethodDelete, "", 1, http.StatusBadGateway},
	} {
		var reached atomic.Int64
		dying := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" && reached.Add(1) == 1 {
				panic(http.ErrAbortHandler)
			}
		})
		front := startCaddy(t, listenAt(t, "127.0.0.1:0", dying), listenAt(t, "127.0.0.1:0", dying))
		r, err := front.visitor().wire().do(row.method, "/", row.body)
		if err != nil || r.status != row.status || reached.Load() != row.times {
			t.Errorf("%s %q = %d, %v, and reached %d replicas, want %d and %d", row.method, row.body, r.status, err, reached.Load(),
				row.status, row.times)
		}
	}
}

// listenAt serves until the test ends, and returns the address.
func listenAt(t *testing.T, addr string, handler http.Handler) string {
	t.Helper()
	server := &httptest.Server{Listener: listener(t, addr), Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func listener(t *testing.T, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// While all replicas are away requests wait, and what has reached nobody is sent
// to the first that is back, with its body.
func TestCaddyWaits(t *testing.T) {
	t.Parallel()
	long(t, "Caddy")
	received := make(chan string, 10)
	serving := receiving(received)
	gone := &httptest.Server{Listener: listener(t, "127.0.0.1:0"), Config: &http.Server{Handler: serving}}
	gone.Config.SetKeepAlivesEnabled(false) // Caddy sends on none that is just being closed
	gone.Start()
	addr := gone.Listener.Addr().String()
	front := startCaddy(t, addr, "127.0.0.1:1")
	gone.Close()
	answers := make(chan string)
	requests := []struct{ method, body string }{
		{http.MethodGet, ""}, {http.MethodPost, ""}, {http.MethodPatch, ""},
		{http.MethodPost, `{"title":"short"}`}, {http.MethodPatch, strings.Repeat("x", 99_999)},
	}
	var want []string
	for _, r := range requests {
		want = append(want, r.method+" "+r.body)
		w := front.visitor().wire()
		go func() {
			defer w.close()
			got, err := w.do(r.method, "/", r.body)
			answers <- fmt.Sprint(r.method, " of ", len(r.body), " bytes: ", got.status, " ", err)
		}()
	}
	time.Sleep(4 * time.Second) // longer than Caddy tries by itself
	listenAt(t, addr, serving)
	for range requests {
		if answer := <-answers; !strings.HasSuffix(answer, " 200 <nil>") {
			t.Error(answer)
		}
	}
	close(received)
	wantReceived(t, received, want)
}

// A write that one replica refuses the connection of goes to the other, with its body, and the other stays in use.
func TestCaddyPassesOver(t *testing.T) {
	t.Parallel()
	long(t, "Caddy")
	received := make(chan string, 100)
	serving := receiving(received)
	gone := &httptest.Server{Listener: listener(t, "127.0.0.1:0"), Config: &http.Server{Handler: serving}}
	gone.Config.SetKeepAlivesEnabled(false)
	gone.Start()
	front := startCaddy(t, gone.Listener.Addr().String(), listenAt(t, "127.0.0.1:0", serving))
	gone.Close() // what comes before the next health check is sent to it, too
	var want []string
	for i := range 20 {
		body := fmt.Sprintf(`{"title":"%d","content":"%s"}`, i, strings.Repeat("x", 1000*i))
		want = append(want, "POST "+body)
		w := front.visitor().wire()
		if r, err := w.do(http.MethodPost, "/", body); err != nil || r.status != http.StatusOK {
			t.Errorf("POST %d = %d, %v, want 200", i, r.status, err)
		}
		w.close()
	}
	close(received)
	wantReceived(t, received, want)
}

// receiving is a replica that says what it is sent, but for health checks.
func receiving(received chan<- string) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case r.URL.Path == "/readyz":
		case err != nil:
			received <- err.Error()
		default:
			received <- r.Method + " " + string(body)
		}
	})
}

func wantReceived(t *testing.T, received <-chan string, want []string) {
	t.Helper()
	var got []string
	for text := range received {
		got = append(got, text)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the replicas received %d requests: %.100q, want %d: %.100q", len(got), got, len(want), want)
	}
}
