package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Under more load than it has room for, a container stays within its limits,
// as docker stats sees it for LOAD, and is never killed for want of memory.
func TestDockerStats(t *testing.T) {
	needEngine(t)
	const memory, cpus = 96 << 20, 0.5
	c, id := startContainer(t, "--memory", fmt.Sprint(memory), "--memory-swap", fmt.Sprint(memory), "--cpus", fmt.Sprint(cpus),
		"-e", "RATE_LIMIT_MAX_REQUESTS=0", "-e", "LOG_LEVEL=warn")
	ada := outside(t, c.url).member("ada@example.com")
	small := startLoad(ada, 30, everyday(ada.create("first", "of many")))
	large := startLoad(ada, 10, func(n, i int) request {
		return request{http.MethodPost, "/api/notes", strings.Repeat("title ", 40) + fmt.Sprint(n, " ", i)}
	})

	busiest := 0.0
	began := time.Now()
	for n := 0; n < 3 || time.Since(began) < loadTime(t); n++ {
		s := statsOf(t, id)
		t.Logf("docker stats: %.1f %% of a core, %d of %d bytes", s.cpu, s.used, s.limit)
		busiest = max(busiest, s.cpu)
		if s.limit != memory || s.used > memory || s.used == 0 {
			t.Errorf("docker stats sees %d of %d bytes, want at most %d", s.used, s.limit, memory)
		}
		if s.cpu > 100*cpus*1.2 { // a quota is a sum over 100 ms, and a look is not aligned with it
			t.Errorf("docker stats sees %.1f %% of a core, want %.0f at most", s.cpu, 100*cpus)
		}
	}
	attempts := append(small.stop(), large.stop()...)
	if busiest < 100*cpus/4 || len(attempts) < 100 {
		t.Errorf("%.1f %% of a core at most for %d requests: there was no load", busiest, len(attempts))
	}
	for _, a := range attempts {
		if a.err != nil {
			t.Errorf("%s %s: %v", a.method, a.path, a.err)
			break
		}
	}
	if it := inspect(t, id)[0]; !it.State.Running || it.State.OOMKilled || it.RestartCount != 0 {
		t.Errorf("afterwards it is %+v, restarted %d times", it.State, it.RestartCount)
	}
}

// stats is one look by docker stats.
type stats struct {
	cpu         float64 // percent of one core
	used, limit int64   // bytes
}

func statsOf(t *testing.T, id string) (s stats) {
	t.Helper()
	var in struct{ CPUPerc, MemUsage string }
	text := tool(t, nil, "docker", "stats", "--no-stream", "--format", "{{json .}}", id)
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	used, limit, _ := strings.Cut(in.MemUsage, " / ")
	cpu, err := strconv.ParseFloat(strings.TrimSuffix(in.CPUPerc, "%"), 64)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return stats{cpu, dockerBytes(t, used), dockerBytes(t, limit)}
}

// dockerBytes reads a size as docker stats prints it: 12.5MiB.
func dockerBytes(t *testing.T, text string) int64 {
	t.Helper()
	for _, unit := range []struct {
		name  string
		bytes float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}} {
		number, ok := strings.CutSuffix(text, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			t.Fatalf("size %q: %v", text, err)
		}
		return int64(n * unit.bytes)
	}
	t.Fatalf("size %q", text)
	return 0
}
