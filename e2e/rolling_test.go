package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notesd/bench"
)

// Two replicas behind the real Caddy replaced in turn, ROLLS times each, under
// load: no request fails, and every write that was acknowledged is there, once.
// It needs the port 80, and some minutes: `make prove NAME=rolling` has them.
func TestRolling(t *testing.T) {
	if os.Getenv("ROLLS") == "" {
		t.Skip("ROLLS is not set: see make prove NAME=rolling")
	}
	needEngine(t)
	for _, port := range []int{80, 443} {
		if !isFree(port) {
			t.Skipf("port %d, which the proxy publishes, is taken", port)
		}
	}
	rolls := numberOf(t, "ROLLS", 1)
	env := filepath.Join(t.TempDir(), "production.env")
	s := &stack{t: t, compose: []string{"compose", "--env-file", env, "-f", "compose.prod.yaml"},
		environ: []string{"COMPOSE_PROJECT_NAME=notesd-e2e-rolling", "ENV_FILE=" + env, "SECRETS_DIR=" + filepath.Join(filepath.Dir(env), "secrets"),
			"SITE_ADDRESS=http://localhost", "REGISTRATION=open", "RATE_LIMIT_MAX_REQUESTS=0"}}
	t.Cleanup(func() { s.docker("down", "--volumes", "--timeout", "20") })
	tool(t, s.environ, "./quick-start.sh", "docker-production")
	p := outside(t, "http://localhost:80")
	p.visitor().awaitAnswer("/api/health")

	company, began := startCompany(p), time.Now()
	before := s.docker("ps", "--quiet", "notesd", "notesd-2")
	for range rolls {
		tool(t, s.environ, "deploy/rolling", "forward", "--force-recreate") // the image is the same one
	}
	took := time.Since(began) / time.Duration(rolls)
	if same := strings.Fields(s.docker("ps", "--quiet", "notesd", "notesd-2")); strings.Contains(before, same[0]) || strings.Contains(before, same[1]) {
		t.Errorf("before: %s, after: %v, want two other containers", before, same)
	}
	tool(t, nil, "docker", "image", "tag", image, image+":previous")
	tool(t, s.environ, "deploy/rolling", "back")
	f := company.stop(t)
	replaced := 2 * (rolls + 1)

	proof := newProof(t, "rolling upgrade", fmt.Sprintf("ROLLS=%d", rolls))
	f.promise(proof, "two replicas in turn", replaced)
	proof.Tables = append(proof.Tables, bench.Table{Title: "Replicas", Head: []string{"replaced", "requests", "failed",
		"acknowledged notes", "missing", "twice", "slowest answer", "time for both"}, Rows: [][]string{{fmt.Sprint(replaced),
		fmt.Sprint(f.requests), fmt.Sprint(f.failed), fmt.Sprint(f.notes), fmt.Sprint(f.missing), fmt.Sprint(f.twice),
		f.slowest.Round(time.Millisecond).String(), took.Round(time.Second).String()}}})
	proof.Notes = append(proof.Notes, "Real containers: Caddy, two replicas, PostgreSQL and Redis, by compose.prod.yaml. "+
		"deploy/rolling replaced both ROLLS times, and took them back once.")
	publish(t, proof)
	if err := proof.Judge(true); err != nil {
		t.Error(err)
	}
	s.explainsOutage(company.each[0])
}

// explainsOutage: with PostgreSQL gone no replica is ready, and yet it is one of
// them that answers, with the reason.
func (s *stack) explainsOutage(person *client) {
	s.t.Helper()
	s.docker("stop", "postgres")
	outside(s.t, person.url).await("no replica ready", func() bool {
		r, err := person.try(http.MethodPost, "/api/notes", note{Title: "lost"})
		return err == nil && r.unavailable("dependency_down") == ""
	})
	time.Sleep(3 * time.Second) // until Caddy has noticed, too
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		var body any
		if method == http.MethodPost {
			body = note{Title: "lost"}
		}
		r := person.call(method, "/api/notes", body)
		if wrong := r.unavailable("dependency_down"); wrong != "" {
			s.t.Error(wrong)
		}
	}
}
