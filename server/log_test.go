package server

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"notesd/server/router"
)

// A request makes one log line: its id, method, pattern, status, address, time
// and person, and nothing that anybody wrote or keeps secret.
func TestLog(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		const secret = "Zanzibar" // stands wherever a person may write something
		email := secret + "@example.com"
		c := s.visitor()
		replies := []reply{
			c.post("/api/auth/register", credentialsOf(email, secret+secret)),
			c.post("/api/auth/register", credentialsOf(email, secret+secret)), // taken
			c.post("/api/auth/login", credentialsOf(email, "wrong "+secret)),
			c.post("/api/auth/login", credentialsOf("nobody."+email, secret)),
			c.post("/api/auth/login", `{"email":"`+secret),
		}
		token := c.token()
		note := c.post("/api/notes", map[string]any{"title": secret, "content": secret, "tags": []string{secret}, "color": secret},
			"Idempotency-Key", secret)
		id := note.note().ID
		replies = append(replies, note,
			c.post("/api/notes", map[string]any{"title": secret, "content": "other"}, "Idempotency-Key", secret), // 422
			c.post("/api/notes", map[string]any{"title": secret, "content": 5, "color": strings.Repeat(secret, 9)}),
			c.get("/api/notes?search="+secret+"&tags="+secret),
			c.get("/api/notes?limit=1&cursor="+secret),
			c.get("/api/notes/"+id+"?"+secret),
			c.get("/api/notes/"+secret),
			c.get("/"+secret+"?"+secret),
			c.patch("/api/notes/"+id, map[string]any{"title": secret + secret}, "If-Match", `"`+secret+`"`),
			c.get("/api/auth/me", "User-Agent", secret, "Referer", "http://"+secret, "X-Request-Id", secret, "X-Forwarded-For", secret),
			c.get("/api/runtime", "Authorization", "Bearer "+secret),
			c.get("/api/notes", "Cookie", "sessionId="+secret),
			c.post("/api/metrics/vitals", map[string]any{"name": secret, "value": 1, "rating": secret}),
			c.delete("/api/notes/"+id),
			c.post("/api/auth/logout", nil),
		)
		ids := map[string]bool{}
		form := regexp.MustCompile(`^[0-9a-f]{16}$`)
		for _, r := range replies {
			line := s.line(r)
			id, _ := line["request_id"].(string)
			if ids[id] || !form.MatchString(id) {
				t.Errorf("%s has id %q, want 16 new hexadecimal digits", r.call, id)
			}
			ids[id] = true
			method, _, _ := strings.Cut(r.call, " ")
			if line["status"] != float64(r.status) || line["method"] != method || line["addr"] != "127.0.0.1" || line["ms"] == nil {
				t.Errorf("%s = %d has log line %v", r.call, r.status, line)
			}
			var f failure
			if r.status >= 400 {
				if r.decode(&f); f.RequestID != id {
					t.Errorf("%s = %s, want request id %s", r.call, r.text, id)
				}
			}
		}
		if line := s.line(note); line["user"] != note.note().UserID || line["route"] != "/api/notes" {
			t.Errorf("log line %v, want the person and the pattern", line)
		}
		times := map[any]int{}
		for _, line := range s.log.Entries() {
			if line["msg"] == "request" {
				times[line["request_id"]]++
			}
		}
		for id := range ids {
			if times[id] != 1 {
				t.Errorf("request %s has %d log lines, want 1", id, times[id])
			}
		}
		log := s.log.String()
		for _, word := range []string{secret, strings.ToLower(secret), token, id, "search=", "sessionId", "argon2", "?"} {
			if i := strings.Index(log, word); i >= 0 {
				t.Errorf("the log holds %q: …%s…", word, log[max(0, i-200):min(len(log), i+100)])
			}
		}
	})
}

// With ENABLE_PERFORMANCE_LOGGING a line says more; slow requests say so in any case, as warnings.
func TestPerformanceLog(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		performance bool
		path        string
		level       string
		more        bool
	}{
		{"usual", false, "/fast", "INFO", false},
		{"asked for", true, "/fast", "INFO", true},
		{"slow", false, "/slow", "WARN", true},
		{"probe", false, "/healthz", "DEBUG", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := withRoutes(t, []router.Route{
				get("/fast", func(c *router.Context) error { return c.Message("fast") }),
				get("/slow", func(c *router.Context) error {
					time.Sleep(slowRequest + 10*time.Millisecond)
					return c.Message("slow")
				}),
			}, func(cfg *Config, _ *Deps) { cfg.PerformanceLogging = tt.performance })
			line := s.line(s.visitor().get(tt.path).want(http.StatusOK))
			if line["level"] != tt.level {
				t.Errorf("log line %v, want level %s", line, tt.level)
			}
			for _, name := range []string{"waited_ms", "shard", "bytes_in", "bytes_out"} {
				if _, ok := line[name].(float64); ok != tt.more {
					t.Errorf("log line %v has %s %v, want %v", line, name, ok, tt.more)
				}
			}
		})
	}
}

// Every answer is an envelope of the contract in JSON, failures with their text.
func TestEnvelopes(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	id := c.create(map[string]any{"title": "<b> & 'c'", "content": ""}).ID
	tests := []struct{ method, path, body string }{
		{"GET", "/api/health", ""}, {"GET", "/api/notes", ""}, {"GET", "/api/notes/" + id, ""}, {"POST", "/api/notes", "{}"},
		{"POST", "/api/notes", "{"}, {"PATCH", "/api/notes/" + id + "/pin", ""}, {"PATCH", "/api/notes/none", "{}"},
		{"GET", "/none", ""}, {"DELETE", "/api/notes/" + id + "/permanent", ""}, {"GET", "/api/auth/me", ""},
		{"POST", "/api/auth/login", "{}"}, {"POST", "/api/auth/logout", ""}, {"GET", "/api/notes?limit=x", ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			r := c.in(t).request(tt.method, tt.path, tt.body)
			wantHeader(t, r, "Content-Type", "application/json; charset=utf-8")
			var in map[string]json.RawMessage
			r.decode(&in)
			ok := r.status < 400
			if string(in["success"]) != map[bool]string{true: "true", false: "false"}[ok] || ok == (in["error"] != nil) {
				t.Errorf("%s = %d %s", r.call, r.status, r.text)
			}
			if strings.Contains(r.text, `\u003c`) {
				t.Errorf("%s = %s, want < as it is", r.call, r.text)
			}
			if strings.HasPrefix(tt.path, "/api/notes/"+id) && ok && !strings.Contains(r.text, `<b> & 'c'`) {
				t.Errorf("%s = %s, want the title as it is", r.call, r.text)
			}
		})
	}
}
