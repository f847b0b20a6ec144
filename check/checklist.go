package check

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// An item is a row of the checklist that the old backend came with, and what proves it here.
type item struct {
	promise string
	rows    []string // of notesd check
	tests   []string // package.Test
	command string   // that people run
}

var checklist = []item{
	{"Master process management; workers forked by CPU cores", []string{"workers", "threads"}, []string{"e2e.TestRuntimeSettings", "e2e.TestContainerLimits"}, ""},
	{"Automatic worker restart on failure", []string{"restarts"}, []string{"e2e.TestPanic", "e2e.TestGoexit", "e2e.TestStuck"}, "make prove-panics"},
	{"Graceful shutdown handling", []string{"drain", "grace"}, []string{"e2e.TestDrain", "e2e.TestSecondSignal"}, "make prove-drain"},
	{"Configurable worker count", []string{"workers"}, []string{"config.TestRuntime", "e2e.TestRuntimeSettings"}, ""},
	{"Memory monitoring per worker; threshold alerts", []string{"memory-monitor", "load-memory"}, []string{"e2e.TestMemoryProcess", "pool.TestMonitorThreshold"}, ""},
	{"CPU and memory limits (Docker)", []string{"limits", "limits-fit", "container-memory"}, []string{"e2e.TestContainerLimits", "e2e.TestMemoryContainer"}, ""},
	{"Configurable heap size", []string{"heap"}, []string{"config.TestRuntime", "e2e.TestContainerLimits"}, ""},
	{"Environment variables; development and production templates", []string{"environment", "settings", "warnings"},
		[]string{"config.TestTemplatesAndDocumentation", "config.TestTemplatesHoldDefaults"}, ""},
	{"Compose for development and production", []string{"limits", "health-checks", "restart-policy", "log-rotation", "read-only", "pinned"},
		[]string{"main.TestShipped", "e2e.TestComposeDevelopment", "e2e.TestComposeProduction"}, ""},
	{"dev:cluster, start:cluster, docker build scripts", nil, []string{"e2e.TestTargets", "main.TestMakeHelp"}, ""},
	{"Interactive quick-start script, executable", nil, []string{"main.TestQuickStart", "main.TestQuickStartSettings"}, ""},
	{"Multi-stage Dockerfile", []string{"user"}, []string{"e2e.TestImage"}, ""},
	{"Redis for sessions", []string{"redis", "eviction", "redis-memory", "persistence", "redis-clock"}, []string{"e2e.TestReplicas", "e2e.TestAwayLater"}, ""},
	{"SCALING, DEPLOYMENT, ARCHITECTURE_DIAGRAMS, VERTICAL_SCALING_SUMMARY, CHECKLIST, README", nil,
		[]string{"main.TestProofs", "main.TestChecklist", "e2e.TestWalkThrough", "e2e.TestRuntimePage"}, ""},
	{"Manual tests: single, cluster, build, cluster in production, Docker development and production, memory monitoring, worker recovery, graceful shutdown", nil,
		[]string{"e2e.TestTargets", "e2e.TestComposeDevelopment", "e2e.TestComposeProduction", "e2e.TestMemoryProcess", "e2e.TestPanic", "e2e.TestDrain"}, ""},
	{"Load test: autocannon -c 100 -d 30 /api/health, single against cluster", nil, []string{"e2e.TestBench"}, "make prove-compare"},
	{"Benchmarks table: req/s, average, p95, p99, CPU, memory; improvement", nil, []string{"e2e.TestBench"}, "make prove-compare"},
	{"Configuration tests: each variable, default, cap", []string{"settings"}, []string{"config.TestSettings", "config.TestRuntime", "e2e.TestWrongSettings"}, ""},
	{"Docker limits seen with docker stats", []string{"container-memory"}, []string{"e2e.TestMemoryContainer"}, "make prove-memory"},
	{"Security rows: secret changed, database password changed, CORS set, env files not committed",
		[]string{"session-secret", "admin-token", "database-password", "redis-password", "cors", "env-files", "file-modes", "user"},
		[]string{"config.TestProductionRefuses", "main.TestShipped", "e2e.TestCheckBad"}, ""},
	{"Configuration rows: workers and heap fit the machine, limits match",
		[]string{"workers", "threads", "heap", "limits-fit", "queue", "cache", "body", "open-files", "kernel-memory", "load-workers", "load-memory", "load-cache"},
		[]string{"e2e.TestCheckBad"}, ""},
	{"Monitoring rows: log rotation, health checks, alerts for worker failures", []string{"log-rotation", "health-checks", "ready", "logs", "metrics", "alerts"},
		[]string{"server.TestAlerts", "e2e.TestHealthcheck"}, ""},
	{"Deployment rows: migrations run, Redis for sessions, reverse proxy, HTTPS, firewall",
		[]string{"database", "database-version", "schema", "connections", "load-connections", "postgres-memory", "durability", "database-tls", "database-clock",
			"notifications", "redis", "redis-tls", "tls", "published", "same-version"},
		[]string{"e2e.TestMigrate", "e2e.TestComposeProduction"}, ""},
	{"Limits: sessions need Redis; uploads need shared storage; WebSockets need sticky sessions; one server is one point of failure",
		[]string{"replicas", "file-system", "disk"}, []string{"e2e.TestReplicas", "e2e.TestReplicasLimit",
			"e2e.TestReplicasKilled", "e2e.TestRedisRestarted", "e2e.TestSentinel", "e2e.TestPgBouncer"}, "make prove-replicas"},
	{"Next: tune workers by load, adjust memory, is vertical scaling enough, plan horizontal", []string{"load-workers", "load-memory"},
		[]string{"bench.TestFitUSL"}, "make prove-scale"},
}

// Results are the verdicts of tests, by package.Test.
type Results map[string]Verdict

// ReadResults reads what `go test -json` has written. A test that was skipped proves nothing.
func ReadResults(in io.Reader) (Results, error) {
	verdicts := map[string]Verdict{"pass": OK, "fail": Fail, "skip": NotApplicable}
	results := Results{}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var event struct{ Action, Package, Test string }
		if json.Unmarshal(line, &event) == nil && verdicts[event.Action] != "" && event.Test != "" {
			results[testName(event.Package, event.Test)] = verdicts[event.Action]
		}
		if err == io.EOF {
			return results, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the results of go test -json: %w", err)
		}
	}
}

// testName is a test as the checklist names it; the module's own package is main.
func testName(path, test string) string {
	_, name, found := strings.Cut(path, "/")
	if !found {
		name = "main"
	}
	return name + "." + test
}

// Checklist writes docs/CHECKLIST.md: every row of the checklist, what proves it, and how that came out. Of two reports
// and results only the verdicts differ.
func (r Report) Checklist(out io.Writer, results Results) error {
	var b strings.Builder
	b.WriteString(checklistHead)
	for _, it := range checklist {
		verdict, open := r.verdictOf(it, results)
		fmt.Fprintf(&b, "| %s | %s | %s |\n", it.promise, it.proofs(), strings.TrimSpace(verdict+" "+open))
	}
	b.WriteString(rowsHead)
	for _, f := range r.Rows {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", f.Part, f.ID, f.Title, f.Verdict)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

const checklistHead = `# The checklist

Written by ` + "`make checklist`" + `, which runs the tests and ` + "`notesd check`" + ` inside the production stack; nothing here is typed. Every row of the
checklist that the old backend came with, what proves it here, and how that came out: rows of ` + "`notesd check`" + ` (below), tests
(package.Test, run with ` + "`go test`" + `), commands that measure (their figures stand in RUNTIME.md and BENCHMARKS.md).

| Checklist | Proved by | Verdict |
|---|---|---|
`

const rowsHead = `
## What notesd check judges

docs/DEPLOYMENT.md says how to run it. A row is n/a where there is nothing to judge: a server that has had no load yet, say.

| Part | Row | What must hold | Verdict |
|---|---|---|---|
`

// proofs lists an item's rows, tests and command.
func (it item) proofs() string {
	var all []string
	if len(it.rows) > 0 {
		all = append(all, "check: "+strings.Join(it.rows, ", "))
	}
	if len(it.tests) > 0 {
		all = append(all, strings.Join(it.tests, ", "))
	}
	if it.command != "" {
		all = append(all, "`"+it.command+"`")
	}
	return strings.Join(all, "; ")
}

// verdictOf is the worst of what proves an item, and what has not been run.
func (r Report) verdictOf(it item, results Results) (verdict, open string) {
	worstOf, missing := NotApplicable, 0
	for _, id := range it.rows {
		if i := slices.IndexFunc(r.Rows, func(f Finding) bool { return f.ID == id }); i >= 0 {
			worstOf = worst(worstOf, r.Rows[i].Verdict)
		}
	}
	for _, test := range it.tests {
		if v, run := results[test]; run && v != NotApplicable {
			worstOf = worst(worstOf, v)
		} else {
			missing++
		}
	}
	if missing > 0 {
		open = fmt.Sprintf("(%d of %s not run)", missing, count(len(it.tests), "test"))
	}
	return string(worstOf), open
}
