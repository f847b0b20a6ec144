package server

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"notesd/server/apidoc"
	"notesd/server/listener"
)

// The API's description needs no session and no worker, is not limited, and is there in both
// codings, each with a validator of its own.
func TestDocs(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1), func(cfg *Config, _ *Deps) { cfg.RateLimitMax = 1 })
	s.occupy(t, 1)
	c := s.visitor()
	for _, f := range apidoc.Files() {
		policy := f.Policy
		if policy == "" {
			policy = listener.ContentSecurityPolicy
		}
		plain := c.get(strings.ToUpper(f.Path) + "/").want(http.StatusOK)
		if plain.text != string(f.Plain()) || plain.header.Get("Content-Encoding") != "" {
			t.Errorf("%s = %.100s, coding %q", plain.call, plain.text, plain.header.Get("Content-Encoding"))
		}
		packed := c.get(f.Path, "Accept-Encoding", "br;q=1, gzip;q=0.5").want(http.StatusOK)
		if r, err := gzip.NewReader(strings.NewReader(packed.text)); err != nil {
			t.Errorf("%s: %v", packed.call, err)
		} else if text, err := io.ReadAll(r); err != nil || !bytes.Equal(text, f.Plain()) {
			t.Errorf("%s = %.100s, %v", packed.call, text, err)
		}
		for _, r := range []reply{plain, packed, c.request(http.MethodHead, f.Path, nil).want(http.StatusOK)} {
			if kind := r.header.Get("Content-Type"); kind != f.ContentType {
				t.Errorf("%s is %s, want %s", r.call, kind, f.ContentType)
			}
			if got := r.header.Values("Content-Security-Policy"); len(got) != 1 || got[0] != policy {
				t.Errorf("%s has the policies %q, want %q", r.call, got, policy)
			}
			tag := r.header.Get("ETag")
			if again := c.get(f.Path, "If-None-Match", tag).want(http.StatusNotModified); again.header.Get("ETag") != tag || again.text != "" {
				t.Errorf("%s with %s = %s %q", again.call, tag, again.header.Get("ETag"), again.text)
			}
		}
		if plain.header.Get("ETag") == packed.header.Get("ETag") {
			t.Errorf("%s has the tag %s in both codings", f.Path, plain.header.Get("ETag"))
		}
		if vary := strings.Join(plain.header.Values("Vary"), ","); !strings.Contains(vary, "Accept-Encoding") {
			t.Errorf("%s varies by %q", plain.call, vary)
		}
		if line := s.line(plain); line["level"] != "DEBUG" {
			t.Errorf("%s has the log line %v, want it at DEBUG", plain.call, line)
		}
	}
}
