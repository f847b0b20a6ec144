package server

import (
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// The web app needs no session and no worker, and is not limited. Each file is there in three codings, each with a validator.
func TestWebApp(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1), func(cfg *Config, _ *Deps) { cfg.RateLimitMax = 1 })
	s.occupy(t, 1)
	c := s.visitor()
	page := c.get("/", "Accept", "text/html").want(http.StatusOK)
	if other := c.get("/n/none/", "Accept", "text/html").want(http.StatusOK); other.text != page.text {
		t.Errorf("%s = %.100s, want the page of /", other.call, other.text)
	}
	paths := []string{"/", "/sw.js", "/manifest.webmanifest", "/icon.svg", "/icon-192.png", "/icon-512.png", "/licenses"}
	assets := regexp.MustCompile(`"(/assets/[^"]+)"`).FindAllStringSubmatch(page.text, -1)
	if len(assets) < 2 {
		t.Fatalf("the page is %s, want a script and a style", page.text)
	}
	for _, m := range assets {
		paths = append(paths, m[1])
	}
	for _, path := range paths {
		plain := c.get(path, "Accept", "text/html").want(http.StatusOK)
		tags := map[string]bool{}
		for coding, unpack := range map[string]func(io.Reader) (io.Reader, error){
			"":     func(r io.Reader) (io.Reader, error) { return r, nil },
			"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
			"zstd": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
		} {
			r := c.get(path, "Accept", "text/html", "Accept-Encoding", coding).want(http.StatusOK)
			in, err := unpack(strings.NewReader(r.text))
			if err != nil {
				t.Fatalf("%s in %q: %v", path, coding, err)
			}
			text, err := io.ReadAll(in)
			if err != nil || string(text) != plain.text || r.header.Get("Content-Encoding") != coding {
				t.Errorf("%s in %q = %.100q in %q, %v", path, coding, text, r.header.Get("Content-Encoding"), err)
			}
			tag := r.header.Get("ETag")
			tags[tag] = true
			again := c.get(path, "Accept", "text/html", "If-None-Match", tag).want(http.StatusNotModified)
			if again.header.Get("ETag") != tag || again.text != "" {
				t.Errorf("%s with %s = %s %q", path, tag, again.header.Get("ETag"), again.text)
			}
			want := "private, no-cache"
			if strings.HasPrefix(path, "/assets/") {
				want = "public, max-age=31536000, immutable"
			}
			for _, cache := range []string{r.header.Get("Cache-Control"), again.header.Get("Cache-Control")} {
				if cache != want {
					t.Errorf("%s has the Cache-Control %q, want %q", path, cache, want)
				}
			}
		}
		if len(tags) != 3 {
			t.Errorf("%s has the tags %v, want three", path, tags)
		}
	}
	policy := page.header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the page has the policy %q, want %s", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the page has the policy %q", policy)
	}
}

// Without the web app only a worker that removes itself is left, and unknown paths are the same with it.
func TestNoWebApp(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.Web = false })
	c := s.visitor()
	if worker := c.get("/sw.js").want(http.StatusOK); !strings.Contains(worker.text, "registration.unregister()") {
		t.Errorf("/sw.js = %s", worker.text)
	}
	with := onSQLite(t).visitor()
	for _, path := range []string{"/n", "/n/a/b", "/assets", "/assets/none.js", "/assets/../web.go", "/index.html", "/favicon.ico"} {
		c.get(path, "Accept", "text/html").fails(http.StatusNotFound, "Route not found")
		with.get(path, "Accept", "text/html").fails(http.StatusNotFound, "Route not found")
	}
	for _, path := range []string{"/n/none", "/licenses", "/manifest.webmanifest"} {
		c.get(path, "Accept", "text/html").fails(http.StatusNotFound, "Route not found")
	}
}
