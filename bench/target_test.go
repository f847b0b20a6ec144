package bench

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCheckTarget(t *testing.T) {
	notesd := httptest.NewServer(newFakeSite(t))
	defer notesd.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	port := notesd.Listener.Addr().(*net.TCPAddr).Port
	for name, test := range map[string]struct {
		url    string
		remote bool
		want   string // in the error; empty: none
	}{
		"here":               {notesd.URL, false, ""},
		"with a slash":       {notesd.URL + "/", false, ""},
		"by name":            {fmt.Sprintf("http://localhost:%d", port), false, ""},
		"dead":               {dead, false, "no server answers at " + dead},
		"not notesd":         {other.URL, false, "is not notesd: GET /api/health = 404"},
		"elsewhere":          {"http://192.0.2.1:3001", false, "is not on this machine"},
		"every address":      {fmt.Sprintf("http://0.0.0.0:%d", port), false, "is not on this machine"},
		"elsewhere, by name": {"http://no-such-host.invalid", false, "no such host"},
		"allowed":            {notesd.URL, true, ""},
		"TLS":                {"https://127.0.0.1:3001", false, "is not like http://127.0.0.1:3001"},
		"a path":             {notesd.URL + "/api", false, "is not like"},
		"a password":         {"http://u:p@127.0.0.1:3001", false, "is not like"},
		"no URL":             {"127.0.0.1:3001", false, "is not like"},
		"nothing":            {"http://", false, "is not like"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := checkTarget(t.Context(), test.url, test.remote)
			if test.want == "" {
				if err != nil || int(got.addr.Port()) != port || !got.addr.Addr().Is4() {
					t.Errorf("checkTarget(%s) = %+v, %v", test.url, got, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("checkTarget(%s) = %v, want %q in it", test.url, err, test.want)
			}
		})
	}
}
