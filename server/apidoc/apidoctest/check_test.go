package apidoctest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const (
	requestID = "0123456789abcdef"
	note      = `{"id":"a","title":"t","content":"","tags":[],"color":null,"isPinned":false,"isFavorite":false,"isArchived":false,` +
		`"isMarkdown":false,"isTrashed":false,"trashedAt":null,"userId":"u","createdAt":"2026-01-02T03:04:05.678Z",` +
		`"updatedAt":"2026-01-02T03:04:05.678Z","revision":1}`
	noteAnswer = `{"success":true,"data":` + note + `}`
)

func exchange(method, path, body string, status int, answer string, headers ...string) Exchange {
	r := httptest.NewRequest(method, path, nil)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.AddCookie(&http.Cookie{Name: "sessionId", Value: "token"})
	h := http.Header{"X-Request-Id": {requestID}}
	if answer != "" {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	for i := 0; i < len(headers); i += 2 {
		name, value := headers[i], headers[i+1]
		to := h
		if asked, ok := strings.CutPrefix(name, "> "); ok {
			to, name = r.Header, asked
		}
		to.Del(name)
		if value != "" {
			to.Set(name, value)
		}
	}
	return Exchange{r, []byte(body), status, h, []byte(answer)}
}

// What the server may answer passes, and a wrong answer, or a request that the document forbids and
// the server took, does not.
func TestCheck(t *testing.T) {
	wrongNote := func(old, now string) string { return strings.Replace(noteAnswer, old, now, 1) }
	const get, created = "/api/notes/a", `{"title":"a","content":""}`
	tests := []struct {
		name string
		x    Exchange
		want string // in the error; empty: no error
	}{
		{"note", exchange("GET", get, "", 200, noteAnswer, "ETag", `"a.1.1"`), ""},
		{"another case, a slash", exchange("GET", "/API/Notes/a/", "", 200, noteAnswer, "ETag", `"a.1.1"`), ""},
		{"id with a slash", exchange("GET", "/api/notes/a%2Fb", "", 200, noteAnswer, "ETag", `"a.1.1"`), ""},
		{"not modified", exchange("GET", get, "", 304, "", "ETag", `"a.1.1"`), ""},
		{"HEAD", exchange("HEAD", get, "", 200, "", "ETag", `"a.1.1"`, "Content-Type", "application/json"), ""},
		{"path that is not there", exchange("GET", "/api/none", "", 404, ""), ""},
		{"limited", exchange("GET", get, "", 401, `{"success":false,"error":"e","requestId":"x"}`, "RateLimit-Limit", "5"), ""},
		{"created", exchange("POST", "/api/notes", created, 201, noteAnswer, "ETag", `"a"`, "Location", "/api/notes/a"), ""},
		{"created, other type", exchange("POST", "/api/notes", created, 201, noteAnswer, "ETag", `"a"`, "Location", "/api/notes/a", "> Content-Type", "application/x+json"), ""},
		{"other order", exchange("GET", "/api/notes?order=upwards", "", 200, `{"success":true,"data":[]}`), ""},
		{"wrong request, refused", exchange("POST", "/api/notes", `{}`, 400, `{"success":false,"error":"e","requestId":"x"}`), ""},

		{"status", exchange("GET", get, "", 418, noteAnswer, "ETag", `"a"`), "no such status"},
		{"member missing", exchange("GET", get, "", 200, wrongNote(`"color":null,`, ""), "ETag", `"a"`), "color"},
		{"member of another type", exchange("GET", get, "", 200, wrongNote(`"revision":1`, `"revision":"1"`), "ETag", `"a"`), "revision"},
		{"null", exchange("GET", get, "", 200, wrongNote(`"title":"t"`, `"title":null`), "ETag", `"a"`), "title"},
		{"member too many", exchange("GET", get, "", 200, wrongNote(`"revision":1`, `"revision":1,"secret":1`), "ETag", `"a"`), "secret"},
		{"success false", exchange("GET", get, "", 200, wrongNote("true", "false"), "ETag", `"a"`), "success"},
		{"time without milliseconds", exchange("GET", get, "", 200, wrongNote("05.678Z", "05Z"), "ETag", `"a"`), "createdAt"},
		{"no body", exchange("GET", get, "", 200, "", "ETag", `"a"`, "Content-Type", "application/json"), "body"},
		{"body with a 304", exchange("GET", get, "", 304, noteAnswer, "ETag", `"a"`), "want none"},
		{"no JSON", exchange("GET", get, "", 200, "{", "ETag", `"a"`), "body"},
		{"two answers", exchange("GET", get, "", 200, noteAnswer+noteAnswer, "ETag", `"a"`), "one JSON value"},
		{"not gzip", exchange("GET", get, "", 200, "{}", "ETag", `"a"`, "Content-Encoding", "gzip"), "EOF"},
		{"type", exchange("GET", get, "", 200, noteAnswer, "ETag", `"a"`, "Content-Type", "text/plain"), "text/plain"},
		{"no ETag", exchange("GET", get, "", 200, noteAnswer), "ETag"},
		{"weak ETag", exchange("GET", get, "", 200, noteAnswer, "ETag", `W/"a"`), "ETag"},
		{"no request id", exchange("GET", get, "", 200, noteAnswer, "ETag", `"a"`, "X-Request-Id", ""), "X-Request-Id"},
		{"header that is no number", exchange("GET", get, "", 200, noteAnswer, "ETag", `"a"`, "RateLimit-Limit", "many"), "RateLimit-Limit"},
		{"header too many", exchange("GET", get, "", 200, noteAnswer, "ETag", `"a"`, "Server", "notesd"), "Server"},
		{"reason", exchange("GET", get, "", 503, `{"success":false,"error":"e","reason":"tired","waitedMs":0,"retryAfter":1,"requestId":"x"}`, "Retry-After", "1"), "reason"},
		{"no Retry-After", exchange("GET", get, "", 503, `{"success":false,"error":"e","reason":"memory","waitedMs":0,"retryAfter":1,"requestId":"x"}`), "Retry-After"},

		{"request without its title", exchange("POST", "/api/notes", `{"content":""}`, 201, noteAnswer, "ETag", `"a"`, "Location", "/api/notes/a"), "title"},
		{"request without a body", exchange("POST", "/api/notes", "", 201, noteAnswer, "ETag", `"a"`, "Location", "/api/notes/a"), "required"},
		{"limit 0", exchange("GET", "/api/notes?limit=0", "", 200, `{"success":true,"data":[]}`), "limit"},
		{"key with a blank", exchange("POST", "/api/notes", created, 201, noteAnswer, "ETag", `"a"`, "Location", "/api/notes/a", "> Idempotency-Key", "a b"), "Idempotency-Key"},
		{"no session", exchange("GET", "/api/notes", "", 200, `{"success":true,"data":[]}`, "> Cookie", ""), "session"},
		{"no token", exchange("POST", "/api/metrics/reset", "", 200, `{"message":"Metrics reset successfully"}`), "Authorization"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Check(tt.x)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Check() = %v, want %q in it", err, tt.want)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	x := exchange("GET", "/api/notes/a", "", 200, noteAnswer, "ETag", `"a.1.1"`)
	for b.Loop() {
		if err := Check(x); err != nil {
			b.Fatal(err)
		}
	}
}
