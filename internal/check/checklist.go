package check

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// An item is a row of the checklist that the old backend came with, and what proves it here.
type item struct {
	promise string
	rows    []string // of notesd check
	tests   []string // package.Test
	measure string   // a command for people, who compare its figures with goals
}

// The nine manual tests are an item each.
var checklist = []item{
	{"Master process management; workers forked by CPU cores", []string{"workers", "threads"}, []string{"e2e.TestRuntimeSettings", "e2e.TestContainerLimits"}, ""},
	{"Automatic worker restart on failure", []string{"restarts"}, []string{"e2e.TestPanic", "e2e.TestGoexit", "e2e.TestStuck"}, "make prove-panics"},
	{"Graceful shutdown handling", []string{"drain", "grace"}, []string{"e2e.TestDrain", "e2e.TestSecondSignal"}, "make prove-drain"},
	{"Configurable worker count", []string{"workers"}, []string{"config.TestRuntime", "e2e.TestRuntimeSettings"}, ""},
	{"Memory monitoring per worker; threshold alerts", []string{"memory-monitor", "load-memory"},
		[]string{"e2e.TestMemoryMonitoring", "e2e.TestMemoryProcess", "pool.TestMonitorThreshold"}, ""},
	{"CPU and memory limits (Docker)", []string{"limits", "limits-fit", "container-memory"},
		[]string{"e2e.TestContainerLimits", "e2e.TestDockerStats", "e2e.TestMemoryContainer"}, ""},
	{"Configurable heap size", []string{"heap"}, []string{"config.TestRuntime", "e2e.TestRuntimeSettings", "e2e.TestContainerLimits"}, ""},
	{"Environment variables; development and production templates", []string{"environment", "settings", "warnings"},
		[]string{"config.TestGenerated", "config.TestTemplatesHoldDefaults", "e2e.TestProductionTemplate"}, ""},
	{"Compose for development and production", []string{"limits", "health-checks", "restart-policy", "log-rotation", "read-only", "pinned"},
		[]string{"main.TestShipped", "e2e.TestComposeDevelopment", "e2e.TestComposeProduction"}, ""},
	{"dev:cluster, start:cluster, docker build scripts", nil,
		[]string{"main.TestMakeHelp", "e2e.TestCluster", "e2e.TestProductionCluster", "e2e.TestBuild", "e2e.TestImage", "e2e.TestComposeDevelopment",
			"e2e.TestComposeProduction"}, ""},
	{"Interactive quick-start script, executable", nil,
		[]string{"main.TestQuickStart", "main.TestQuickStartRefuses", "main.TestQuickStartSettings", "e2e.TestSingle", "e2e.TestCluster",
			"e2e.TestProductionSingle", "e2e.TestProductionCluster", "e2e.TestComposeDevelopment", "e2e.TestComposeProduction"}, ""},
	{"Multi-stage Dockerfile", []string{"user"}, []string{"e2e.TestImage", "e2e.TestHealthcheck"}, ""},
	{"Redis for sessions", []string{"redis", "eviction", "redis-memory", "persistence", "redis-clock"}, []string{"e2e.TestReplicas", "e2e.TestAwayLater"}, ""},
	{"SCALING, DEPLOYMENT, ARCHITECTURE_DIAGRAMS, VERTICAL_SCALING_SUMMARY, CHECKLIST, README", nil,
		[]string{"main.TestDocuments", "main.TestLinks", "main.TestProofs", "main.TestChecklist", "e2e.TestWalkThrough", "e2e.TestRuntimePage",
			"e2e.TestDocumentsRun", "e2e.TestDocumentsCommands"}, ""},
	{"Manual test: single", nil, []string{"e2e.TestSingle"}, ""},
	{"Manual test: cluster", nil, []string{"e2e.TestCluster"}, ""},
	{"Manual test: build", nil, []string{"e2e.TestBuild"}, ""},
	{"Manual test: cluster in production", nil, []string{"e2e.TestProductionCluster"}, ""},
	{"Manual test: Docker development", nil, []string{"e2e.TestComposeDevelopment"}, ""},
	{"Manual test: Docker production", nil, []string{"e2e.TestComposeProduction"}, ""},
	{"Manual test: memory monitoring", nil, []string{"e2e.TestMemoryMonitoring"}, ""},
	{"Manual test: worker recovery", nil, []string{"e2e.TestPanic"}, ""},
	{"Manual test: graceful shutdown", nil, []string{"e2e.TestDrain"}, ""},
	{"Load test: autocannon -c 100 -d 30 /api/health, single against cluster", nil, []string{"e2e.TestLoadHealth"}, "make prove-compare"},
	{"Benchmarks table: req/s, average, p95, p99, CPU, memory; improvement", nil, []string{"e2e.TestBenchmarksTable", "e2e.TestBench"}, "make prove-compare"},
	{"Configuration tests: each variable, default, cap", []string{"settings"},
		[]string{"config.TestSettings", "config.TestRuntime", "e2e.TestEveryVariable", "e2e.TestWrongSettings", "e2e.TestRuntimeSettings"}, ""},
	{"Docker limits seen with docker stats", []string{"container-memory"}, []string{"e2e.TestDockerStats", "e2e.TestMemoryContainer"}, "make prove-memory"},
	{"Security rows: secret changed, database password changed, CORS set, env files not committed",
		[]string{"session-secret", "admin-token", "database-password", "redis-password", "cors", "env-files", "file-modes", "user"},
		[]string{"config.TestProductionRefuses", "main.TestShipped", "e2e.TestProductionTemplate", "e2e.TestWrongSettings", "e2e.TestCheckBad"}, ""},
	{"Configuration rows: workers and heap fit the machine, limits match",
		[]string{"workers", "threads", "heap", "limits-fit", "queue", "cache", "body", "open-files", "kernel-memory", "load-workers", "load-memory", "load-cache"},
		[]string{"e2e.TestCheckBad", "e2e.TestCheckContainer"}, ""},
	{"Monitoring rows: log rotation, health checks, alerts for worker failures", []string{"log-rotation", "health-checks", "ready", "logs", "metrics", "alerts"},
		[]string{"main.TestPrometheusRules", "main.TestAlertsDescribed", "e2e.TestAlertFires", "e2e.TestMetricsThere", "e2e.TestComposeMonitoring",
			"e2e.TestWebhookExample", "server.TestAlerts", "e2e.TestHealthcheck"}, ""},
	{"Deployment rows: migrations run, Redis for sessions, reverse proxy, HTTPS, firewall",
		[]string{"database", "database-version", "schema", "connections", "load-connections", "postgres-memory", "durability", "database-tls", "database-clock",
			"notifications", "redis", "redis-tls", "tls", "published", "same-version"},
		[]string{"e2e.TestMigrate", "e2e.TestReplicas", "e2e.TestComposeProduction", "main.TestPublishedPorts", "main.TestTrustedProxy", "e2e.TestRollback",
			"e2e.TestNoRollback"}, ""},
	{"Limits: sessions need Redis; uploads need shared storage; WebSockets need sticky sessions; one server is one point of failure",
		[]string{"replicas", "file-system", "disk"}, []string{"e2e.TestReplicas", "e2e.TestReplicasLimit", "e2e.TestReplicasKilled",
			"e2e.TestRedisRestarted", "e2e.TestSentinel", "e2e.TestPgBouncer", "e2e.TestUpgrades", "e2e.TestRolling"}, "make prove-replicas"},
	{"Next: tune workers by load, adjust memory, is vertical scaling enough, plan horizontal", []string{"load-workers", "load-memory"},
		[]string{"bench.TestFitUSL", "e2e.TestBenchScale"}, "make prove-scale"},
}

// judgesProduction is the test in which notesd check judges the production stack: without it its rows prove nothing.
const judgesProduction = "e2e.TestComposeProduction"

// inFull are settings for tests that are short without, or skipped.
var inFull = map[string]string{"e2e.TestLoadHealth": "LOAD=30s", "e2e.TestDockerStats": "LOAD=30s", "e2e.TestRolling": "ROLLS=1"}

// allTests are the tests that an item stands on.
func (it item) allTests() []string {
	if len(it.rows) > 0 && !slices.Contains(it.tests, judgesProduction) {
		return append(slices.Clone(it.tests), judgesProduction)
	}
	return it.tests
}

// TestCommand is the command for a shell that runs all tests of the checklist and all of e2e, most of which CI runs with
// -short only, and writes what ReadResults reads.
func TestCommand() string {
	var elsewhere []string
	for _, it := range checklist {
		for _, test := range it.allTests() {
			if !strings.HasPrefix(test, "e2e.") {
				elsewhere = append(elsewhere, test)
			}
		}
	}
	settings := strings.Join(unique(slices.Collect(maps.Values(inFull))), " ")
	return goTest("-json -p 1 ", elsewhere) + "; " + // one package after the other: some measure
		settings + " go test -json ./e2e -count=1 -timeout 2h"
}

// goTest is the command that runs tests in full.
func goTest(flags string, tests []string) string {
	var settings, packages, names []string
	for _, test := range tests {
		where, name, _ := strings.Cut(test, ".")
		names = append(names, name)
		packages = append(packages, strings.TrimSuffix("./"+where, "/main"))
		settings = append(settings, inFull[test]+" ")
	}
	return strings.TrimLeft(strings.Join(unique(settings), ""), " ") + "go test " + flags + strings.Join(unique(packages), " ") +
		" -count=1 -timeout 1h -run '^(" + strings.Join(unique(names), "|") + ")$'"
}

// unique sorts and leaves each once.
func unique(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }

// Checklist writes docs/CHECKLIST.md: every row of the checklist, what proves it, and how that came out. Of two reports
// and results only the verdicts differ.
func (r Report) Checklist(out io.Writer, results Results) error {
	var b strings.Builder
	b.WriteString(checklistHead)
	for _, it := range checklist {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", it.promise, it.proofs(), r.outcomeOf(it, results).cell())
	}
	b.WriteString(rowsHead)
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", row.part, row.id, row.title, r.verdictOf(row.id))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

const checklistHead = `# The checklist

Written by ` + "`make checklist`" + ` from what ` + "`make e2e`" + ` found, which runs the tests and ` + "`notesd check`" + ` inside the production stack; nothing
here is typed. Every row of the checklist that the old backend came with, what proves it here, and how that came out: rows of
` + "`notesd check`" + ` (below), tests (package.Test; ` + "`make e2e`" + ` prints the command for each), commands that measure (their figures stand in
docs/results and BENCHMARKS.md).

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
	if it.measure != "" {
		all = append(all, "`"+it.measure+"`")
	}
	return strings.Join(all, "; ")
}

// An outcome is how an item came out.
type outcome struct {
	verdict Verdict // the worst of what it stands on
	took    time.Duration
	but     []string // all that is worse than ok
}

// cell is the outcome as a cell of a table.
func (o outcome) cell() string {
	if len(o.but) == 0 {
		return string(o.verdict)
	}
	return fmt.Sprintf("%s (%s)", o.verdict, strings.ReplaceAll(printable(strings.Join(o.but, "; ")), "|", "/"))
}

// add takes in what one thing came to that the item stands on.
func (o *outcome) add(v Verdict, what string) {
	o.verdict = worst(o.verdict, v)
	if worst(v, OK) != OK {
		o.but = append(o.but, what)
	}
}

func (r Report) outcomeOf(it item, results Results) outcome {
	o := outcome{verdict: NotApplicable}
	for _, test := range it.allTests() {
		became := results.of(test)
		o.add(became.verdict(), fmt.Sprintf("%s: %s", test, became))
		o.took += became.took
	}
	judged := results.of(judgesProduction).verdict() == OK
	for _, id := range it.rows {
		if v := r.verdictOf(id); v != NotRun || judged {
			o.add(v, fmt.Sprintf("check %s: %s", id, v))
		}
	}
	return o
}

// verdictOf is a row's verdict, NotRun if the report does not have it.
func (r Report) verdictOf(id string) Verdict {
	if i := slices.IndexFunc(r.Rows, func(f Finding) bool { return f.ID == id }); i >= 0 {
		return r.Rows[i].Verdict
	}
	return NotRun
}

// Proofs writes for people how each item of the checklist came out, with the command that runs its tests alone, and the
// last lines of what failed. It returns the worst verdict.
func (r Report) Proofs(out io.Writer, results Results) (Verdict, error) {
	var b strings.Builder
	all, counts := NotApplicable, map[Verdict]int{}
	for _, it := range checklist {
		o := r.outcomeOf(it, results)
		o.write(&b, it)
		all = worst(all, o.verdict)
		counts[o.verdict]++
	}
	for _, name := range results.failed() { // of the checklist or not
		all = worst(all, Fail)
		fmt.Fprintf(&b, "\n%s, its last lines:\n%s\n", name, strings.Join(results[name].said, "\n"))
	}
	fmt.Fprintf(&b, "\n%d rows: %d ok, %d failed, %d not run, %d skipped, %d to look at\n", len(checklist), counts[OK], counts[Fail],
		counts[NotRun], counts[Skipped], counts[Warn]+counts[Unknown])
	_, err := io.WriteString(out, b.String())
	return all, err
}

// write writes the outcome of an item for people: verdict, time and name, and below them the command and what is not ok.
func (o outcome) write(b *strings.Builder, it item) {
	verdict := string(o.verdict)
	if worst(o.verdict, NotRun) == o.verdict {
		verdict = strings.ToUpper(verdict)
	}
	fmt.Fprintf(b, "%-7s %7s  %s\n", verdict, seconds(o.took), it.promise)
	below := []string{goTest("-v ", it.allTests())}
	if len(it.rows) > 0 {
		below = append(below, "make check-setup: "+strings.Join(it.rows, ", "))
	}
	for _, what := range o.but {
		below = append(below, "! "+printable(what))
	}
	for _, line := range below {
		fmt.Fprintf(b, "%17s%s\n", "", line)
	}
}
