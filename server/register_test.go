package server

import (
	"net/http"
	"testing"

	"notesd/store/storetest"
)

// A sign-up while the sessions are away leaves nothing behind: the next try succeeds.
func TestRegisterWithoutSessions(t *testing.T) {
	t.Parallel()
	redis := storetest.NewRedis(t)
	s := onSQLite(t, onRedis(t, redis.URL()))
	in := map[string]any{"email": "ada@example.com", "password": password}
	redis.Stop(t)
	wantRefusal(t, s.visitor().post("/api/auth/register", in).want(http.StatusServiceUnavailable), "dependency_down")
	redis.Start(t)
	eventually(t, "sign-up", func() bool { return s.visitor().post("/api/auth/register", in).status == http.StatusCreated })
}
