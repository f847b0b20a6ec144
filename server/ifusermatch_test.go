package server

import (
	"net/http"
	"strings"
	"testing"

	"notesd/server/router"
)

// A request that names a user is refused if the session is another's: by every route that knows users, and also
// where the answer would come from memory.
func TestIfUserMatch(t *testing.T) {
	t.Parallel()
	const header = "If-User-Match"
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.RateLimitMax = 0 })
	ada, eve := s.someone(), s.someone()
	wantRefused := func(r reply) {
		t.Helper()
		var body struct{ Code string }
		if r.fails(http.StatusPreconditionFailed, "Another user is signed in").decode(&body); body.Code != "other_user" {
			t.Errorf("%s: code %q, want other_user", r.call, body.Code)
		}
	}
	id := ada.create(map[string]any{"title": "mine", "content": ""}).ID
	path := "/api/notes/" + id
	for _, name := range []string{ada.me(), ada.me() + "x", ""} {
		wantRefused(eve.post("/api/notes", map[string]any{"title": "not hers", "content": ""}, header, name))
	}
	ada.get(path, header, ada.me()).want(http.StatusOK)
	ada.get(path, header, ada.me()).want(http.StatusOK) // from memory
	wantRefused(ada.get(path, header, eve.me()))
	wantRefused(ada.bearer(ada.makeToken("write").Token).patch(path, map[string]any{"title": "t"}, header, eve.me()))

	checked := 0
	for _, route := range contract(t) {
		if route.Class == router.Free || route.Auth == router.Admin {
			continue // these know no users
		}
		checked++
		wantRefused(eve.request(route.Method, strings.NewReplacer(":id", id, ":revision", "1").Replace(route.Path), nil, header, ada.me()))
	}
	if checked < 30 {
		t.Errorf("%d routes know users", checked)
	}
	eve.get("/api/notes", header, eve.me()).want(http.StatusOK) // still signed in, and has no note
	if list := eve.get("/api/notes").notes(); len(list) != 0 {
		t.Errorf("the other user has %d notes", len(list))
	}
	s.visitor().get(path, header, ada.me()).fails(http.StatusUnauthorized, "Authentication required")
}
