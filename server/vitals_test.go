package server

import (
	"net/http"
	"strings"
	"testing"
)

// Browsers' reports are taken as they should be, and nothing else of them goes anywhere.
func TestVitals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		status     int
	}{
		{"whole", `{"name":"LCP","value":1234.5,"rating":"needs-improvement","id":"v3-1","navigationType":"navigate"}`, 201},
		{"no id", `{"name":"CLS","value":0,"rating":"good"}`, 201},
		{"unknown members", `{"name":"INP","value":1,"rating":"poor","delta":1,"entries":[{"x":1}]}`, 201},
		{"exponent", `{"name":"TTFB","value":1e2,"rating":"good"}`, 201},
		{"empty body", ``, 400},
		{"no members", `{}`, 400},
		{"array", `[]`, 400},
		{"no value", `{"name":"CLS","rating":"good"}`, 400},
		{"no name", `{"value":1,"rating":"good"}`, 400},
		{"no rating", `{"name":"CLS","value":1}`, 400},
		{"unknown name", `{"name":"XSS","value":1,"rating":"good"}`, 400},
		{"name in another case", `{"name":"cls","value":1,"rating":"good"}`, 400},
		{"name a number", `{"name":1,"value":1,"rating":"good"}`, 400},
		{"value a string", `{"name":"CLS","value":"1","rating":"good"}`, 400},
		{"value null", `{"name":"CLS","value":null,"rating":"good"}`, 400},
		{"value below zero", `{"name":"CLS","value":-1,"rating":"good"}`, 400},
		{"value beyond numbers", `{"name":"CLS","value":1e999,"rating":"good"}`, 400},
		{"unknown rating", `{"name":"CLS","value":1,"rating":"great"}`, 400},
		{"rating null", `{"name":"CLS","value":1,"rating":null}`, 400},
		{"id a number", `{"name":"CLS","value":1,"rating":"good","id":7}`, 400},
		{"id an object", `{"name":"CLS","value":1,"rating":"good","id":{}}`, 400},
		{"navigationType an array", `{"name":"CLS","value":1,"rating":"good","navigationType":["navigate"]}`, 400},
	}
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.WebVitalsLogging = true })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := s.visitor().in(t) // nobody has to be signed in
			r := c.post("/api/metrics/vitals", tt.body).want(tt.status)
			if tt.status == http.StatusCreated && strings.TrimSpace(r.text) != `{"received":true}` {
				t.Errorf("%s = %s", r.call, r.text)
			}
			if tt.status == http.StatusBadRequest {
				r.fails(http.StatusBadRequest, "Invalid web vital")
			}
		})
	}
	s.visitor().post("/api/metrics/vitals", `{`).fails(http.StatusBadRequest, "Malformed JSON")
	s.visitor().post("/api/metrics/vitals", `{"name":"LCP","value":2,"rating":"good","id":"forged\nline","navigationType":"<b>"}`).
		want(http.StatusCreated)
	if text := s.administrator().get("/metrics").text; !strings.Contains(text, `notesd_web_vitals_total{name="LCP",rating="needs-improvement"} 1`) ||
		strings.Contains(text, "XSS") {
		t.Error("/metrics does not count them by name and rating")
	}
	log := s.log.String()
	if n := strings.Count(log, `"msg":"web vital"`); n != 5 {
		t.Errorf("%d vitals in the log, want 5", n)
	}
	for _, raw := range []string{"forged", "<b>", `\u003cb`, "XSS", "v3-1", "entries"} {
		if strings.Contains(log, raw) {
			t.Errorf("the log holds %q of a report, raw", raw)
		}
	}
}

func TestVitalsNotLogged(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	s.visitor().post("/api/metrics/vitals", `{"name":"CLS","value":0,"rating":"good"}`).want(http.StatusCreated)
	if strings.Contains(s.log.String(), "web vital") {
		t.Error("a vital is logged without ENABLE_WEB_VITALS_LOGGING")
	}
}
