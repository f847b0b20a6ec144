package server

import (
	"net/http"
	"testing"

	"github.com/gomodule/redigo/redis"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
)

// A Redis that answers a PING and takes no sessions makes the site unready, and an alert says so. Who is signed in
// goes on. A sign-up in that time leaves nothing behind: the next try succeeds.
func TestRedisRefusesWrites(t *testing.T) {
	type command []any
	for name, c := range map[string]struct{ begin, end command }{
		"full":             {command{"CONFIG", "SET", "maxmemory", "1"}, command{"CONFIG", "SET", "maxmemory", "0"}},
		"read-only":        {command{"REPLICAOF", "127.0.0.1", "1"}, command{"REPLICAOF", "NO", "ONE"}},
		"too few replicas": {command{"CONFIG", "SET", "min-replicas-to-write", "1"}, command{"CONFIG", "SET", "min-replicas-to-write", "0"}},
		"no scripts":       {command{"ACL", "SETUSER", "default", "-@scripting"}, command{"ACL", "SETUSER", "default", "+@all"}},
		"no transactions":  {command{"ACL", "SETUSER", "default", "-multi"}, command{"ACL", "SETUSER", "default", "+@all"}},
		"no index of people": {command{"ACL", "SETUSER", "default", "resetkeys", "~scs:session:*", "~notesd:*"},
			command{"ACL", "SETUSER", "default", "~*"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.NewRedis(t)
			do := func(c command) {
				t.Helper()
				conn, err := redis.DialURL(server.URL())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := conn.Do(c[0].(string), c[1:]...); err != nil {
					t.Fatalf("%v: %v", c, err)
				}
			}
			alerts, events := recordedAlerts()
			s := onSQLite(t, onRedis(t, server.URL()), uncopied, func(_ *Config, deps *Deps) { deps.Alerts = alerts })
			ada := s.member("ada@example.com")
			do(c.begin)
			testkit.Eventually(t, "readiness red", func() bool {
				r := ada.get("/readyz")
				return r.status == http.StatusServiceUnavailable && r.checks()["sessions"].Status == "down"
			})
			if e := nextEvent(t, events); e.Kind != "dependency_down" || e.Subject != "sessions" {
				t.Errorf("got %+v, want dependency_down of the sessions", e)
			}
			ada.get("/api/auth/me").want(http.StatusOK)
			in := credentialsOf("grace@example.com", password)
			if name != "no scripts" { // the session of a sign-up needs none
				wantRefusal(t, s.visitor().post("/api/auth/register", in).want(http.StatusServiceUnavailable), "dependency_down")
			}
			wantRefusal(t, s.visitor().login("", "ada@example.com", password).want(http.StatusServiceUnavailable), "dependency_down")
			do(c.end)
			testkit.Eventually(t, "readiness green", func() bool { return ada.get("/readyz").status == http.StatusOK })
			s.visitor().post("/api/auth/register", in).want(http.StatusCreated)
			s.visitor().login("", "ada@example.com", password).want(http.StatusOK)
			if n := server.Keys(t, "*probe*"); n != 0 {
				t.Errorf("%d keys of the probe are left, want none", n)
			}
		})
	}
}
