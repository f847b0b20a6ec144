package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"notesd/internal/check"
)

// An item is a row of the checklist that the old backend came with, and what proves it here.
type item struct {
	promise string
	rows    []string // rows of notesd check
	tests   []string // package.Test
	measure string   // a command whose output a person compares with the goals
}

// checklist holds all items. Each of the nine manual tests is an item of its own.
var checklist = []item{
	{"Master process management; workers forked by CPU cores", []string{"workers", "threads"},
		[]string{"e2e.TestRuntimeSettings", "e2e.TestContainerLimits"}, ""},
	{"Automatic worker restart on failure", []string{"restarts"}, []string{"e2e.TestPanic", "e2e.TestGoexit",
		"e2e.TestStuck"}, "make prove NAME=panics"},
	{"Graceful shutdown handling", []string{"drain", "grace"}, []string{"e2e.TestDrain", "e2e.TestSecondSignal"},
		"make prove NAME=drain"},
	{"Configurable worker count", []string{"workers"}, []string{"config.TestRuntime", "e2e.TestRuntimeSettings"}, ""},
	{"Memory monitoring per worker; threshold alerts", []string{"memory-monitor", "load-memory"},
		[]string{"e2e.TestMemoryMonitoring", "e2e.TestMemoryProcess", "pool.TestMonitorThreshold"}, ""},
	{"CPU and memory limits (Docker)", []string{"limits", "limits-fit", "container-memory"},
		[]string{"e2e.TestContainerLimits", "e2e.TestDockerStats", "e2e.TestMemoryContainer"}, ""},
	{"Configurable heap size", []string{"heap"}, []string{"config.TestRuntime", "e2e.TestRuntimeSettings",
		"e2e.TestContainerLimits"}, ""},
	{"Environment variables; development and production templates", []string{"environment", "settings", "warnings"},
		[]string{"config.TestGenerated", "config.TestTemplatesHoldDefaults",
			"e2e.TestProductionTemplate"}, ""},
	{"Compose for development and production", []string{"limits", "health-checks", "restart-policy", "log-rotation",
		"read-only", "pinned"},
		[]string{"main.TestShipped", "e2e.TestComposeDevelopment", "e2e.TestComposeProduction"}, ""},
	{"dev:cluster, start:cluster, docker build scripts", nil,
		[]string{"main.TestMakeHelp", "e2e.TestCluster", "e2e.TestProductionCluster", "e2e.TestBuild",
			"e2e.TestImage", "e2e.TestComposeDevelopment",
			"e2e.TestComposeProduction"}, ""},
	{"Interactive quick-start script, executable", nil,
		[]string{"main.TestQuickStart", "main.TestQuickStartRefuses", "main.TestQuickStartSettings", "e2e.TestSingle",
			"e2e.TestCluster",
			"e2e.TestProductionSingle", "e2e.TestProductionCluster", "e2e.TestComposeDevelopment",
			"e2e.TestComposeProduction"}, ""},
	{"Multi-stage Dockerfile", []string{"user"}, []string{"e2e.TestImage", "e2e.TestHealthcheck"}, ""},
	{"Redis for sessions", []string{"redis", "eviction", "redis-memory", "persistence", "redis-clock"},
		[]string{"e2e.TestReplicas", "e2e.TestAwayLater"}, ""},
	{"SCALING, DEPLOYMENT, ARCHITECTURE_DIAGRAMS, VERTICAL_SCALING_SUMMARY, CHECKLIST, README", nil,
		[]string{"main.TestDocuments", "main.TestLinks", "main.TestProofs", "main.TestChecklist",
			"e2e/checklist.TestPage", "e2e.TestWalkThrough", "e2e.TestRuntimePage",
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
	{"Load test: autocannon -c 100 -d 30 /api/health, single against cluster", nil, []string{"e2e.TestLoadHealth"},
		"make prove NAME=compare"},
	{"Benchmarks table: req/s, average, p95, p99, CPU, memory; improvement", nil, []string{"e2e.TestBenchmarksTable",
		"e2e.TestBench"}, "make prove NAME=compare"},
	{"Configuration tests: each variable, default, cap", []string{"settings"},
		[]string{"config.TestSettings", "config.TestRuntime", "e2e.TestEveryVariable", "e2e.TestWrongSettings",
			"e2e.TestRuntimeSettings"}, ""},
	{"Docker limits seen with docker stats", []string{"container-memory"}, []string{"e2e.TestDockerStats",
		"e2e.TestMemoryContainer"}, "make prove NAME=memory"},
	{"Security rows: secret changed, database password changed, CORS set, env files not committed",
		[]string{"session-secret", "admin-token", "database-password", "redis-password", "cors", "env-files",
			"file-modes", "user"},
		[]string{"config.TestProductionRefuses", "main.TestShipped", "e2e.TestProductionTemplate",
			"e2e.TestWrongSettings", "e2e.TestCheckBad"}, ""},
	{"Configuration rows: workers and heap fit the machine, limits match",
		[]string{"workers", "threads", "heap", "limits-fit", "queue", "cache", "body", "open-files", "kernel-memory",
			"load-workers", "load-memory", "load-cache"},
		[]string{"e2e.TestCheckBad", "e2e.TestCheckContainer"}, ""},
	{"Monitoring rows: log rotation, health checks, alerts for worker failures", []string{"log-rotation",
		"health-checks", "ready", "logs", "metrics", "alerts"},
		[]string{"main.TestPrometheusRules", "main.TestAlertsDescribed", "e2e.TestAlertFires", "e2e.TestMetricsThere",
			"e2e.TestComposeMonitoring",
			"e2e.TestWebhookExample", "server/admin.TestAlerts", "e2e.TestHealthcheck"}, ""},
	{"Deployment rows: migrations run, Redis for sessions, reverse proxy, HTTPS, firewall",
		[]string{"database", "database-version", "schema", "connections", "load-connections", "postgres-memory",
			"durability", "database-tls", "database-clock",
			"notifications", "redis", "redis-tls", "tls", "published", "same-version"},
		[]string{"e2e.TestMigrate", "e2e.TestReplicas", "e2e.TestComposeProduction", "main.TestPublishedPorts",
			"main.TestTrustedProxy", "e2e.TestRollback",
			"e2e.TestNoRollback"}, ""},
	{"Limits: sessions need Redis; uploads need shared storage; WebSockets need sticky sessions; one server " +
		"is one point of failure",
		[]string{"replicas", "file-system", "disk"}, []string{"e2e.TestReplicas", "e2e.TestReplicasLimit",
			"e2e.TestReplicasKilled",
			"e2e.TestRedisRestarted", "e2e.TestSentinel", "e2e.TestPgBouncer", "e2e.TestUpgrades", "e2e.TestRolling"},
		"make prove NAME=replicas"},
	{"Next: tune workers by load, adjust memory, is vertical scaling enough, plan horizontal",
		[]string{"load-workers", "load-memory"},
		[]string{"bench.TestFitUSL", "e2e.TestBenchScale"}, "make prove NAME=scale"},
}

// judgesProduction is the test that runs notesd check inside the production stack. If that test
// does not pass, a row of notesd check proves nothing.
const judgesProduction = "e2e.TestComposeProduction"

// inFull maps a test to the setting without which the test is shortened or skipped.
var inFull = map[string]string{"e2e.TestLoadHealth": "LOAD=30s", "e2e.TestDockerStats": "LOAD=30s",
	"e2e.TestRolling": "ROLLS=1"}

// rows lists the rows of notesd check in their order. Only their names are used.
var rows = check.Evaluate(check.Facts{}).Rows

// allTests returns the tests that an item depends on.
func (it item) allTests() []string {
	if len(it.rows) > 0 && !slices.Contains(it.tests, judgesProduction) {
		return append(slices.Clone(it.tests), judgesProduction)
	}
	return it.tests
}

// testCommand returns the shell command that runs all tests of the checklist and all of e2e, and
// writes the file that readResults reads. CI runs most of e2e with -short only.
func testCommand() string {
	var elsewhere []string
	for _, it := range checklist {
		for _, test := range it.allTests() {
			if !strings.HasPrefix(test, "e2e.") {
				elsewhere = append(elsewhere, test)
			}
		}
	}
	settings := strings.Join(unique(slices.Collect(maps.Values(inFull))), " ")
	return goTest("-json -p 1 ", elsewhere) + "; " + // one package after the other, because some tests measure time
		settings + " go test -json ./e2e -count=1 -timeout 2h"
}

// goTest returns the command that runs tests in full.
func goTest(flags string, tests []string) string {
	var settings, packages, names []string
	for _, test := range tests {
		where, name, _ := strings.Cut(test, ".")
		names = append(names, name)
		packages = append(packages, strings.TrimSuffix("./"+where, "/main"))
		settings = append(settings, inFull[test]+" ")
	}
	return strings.TrimLeft(strings.Join(unique(settings), ""),
		" ") + "go test " + flags + strings.Join(unique(packages), " ") +
		" -count=1 -timeout 1h -run '^(" + strings.Join(unique(names), "|") + ")$'"
}

// unique sorts s and removes duplicates.
func unique(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }

// An evidence is what the items are judged by.
type evidence struct {
	report check.Report // the report of notesd check
	tests  results
}

// writePage writes docs/CHECKLIST.md: every item, what proves it, and its verdict. Pages from
// different evidence differ in their verdicts only.
func (e evidence) writePage(out io.Writer) error {
	var b strings.Builder
	b.WriteString(pageHead)
	for _, it := range checklist {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", it.promise, it.proofs(), e.outcomeOf(it).cell())
	}
	b.WriteString(rowsHead)
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", row.Part, row.ID, row.Title, e.verdictOf(row.ID))
	}
	b.WriteString("\n<!-- end -->\n")
	_, err := io.WriteString(out, b.String())
	return err
}

const pageHead = `# The checklist

<!-- checklist, written by: make checklist -->

Every row of the old backend's checklist, what proves it here and the result: rows of ` + "`notesd check`" + `
(below), tests (package.Test) and measurements (figures in docs/results and BENCHMARKS.md).

| Checklist | Proved by | Verdict |
|---|---|---|
`

const rowsHead = `
## What notesd check judges

[How to run it](DEPLOYMENT.md#is-it-set-up-well-notesd-check). A row is n/a where there is nothing to judge, such as
a server without load.

| Part | Row | What must hold | Verdict |
|---|---|---|---|
`

// proofs lists the rows, the tests and the command of an item.
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

// An outcome is the result of an item.
type outcome struct {
	verdict  check.Verdict // the worst verdict of what the item depends on
	took     time.Duration
	problems []string // everything that is worse than ok
}

// cell formats the outcome as a cell of a table.
func (o outcome) cell() string {
	if len(o.problems) == 0 {
		return string(o.verdict)
	}
	return fmt.Sprintf("%s (%s)", o.verdict,
		strings.ReplaceAll(check.Printable(strings.Join(o.problems, "; ")), "|", "/"))
}

// add adds the verdict of one thing that the item depends on.
func (o *outcome) add(v check.Verdict, what string) {
	o.verdict = worst(o.verdict, v)
	if worst(v, check.OK) != check.OK {
		o.problems = append(o.problems, what)
	}
}

// outcomeOf returns the outcome of an item.
func (e evidence) outcomeOf(it item) outcome {
	o := outcome{verdict: check.NotApplicable}
	for _, test := range it.allTests() {
		r := e.tests.of(test)
		o.add(r.verdict(), fmt.Sprintf("%s: %s", test, r))
		o.took += r.took
	}
	judged := e.tests.of(judgesProduction).verdict() == check.OK
	for _, id := range it.rows {
		if v := e.verdictOf(id); v != notRun || judged {
			o.add(v, fmt.Sprintf("check %s: %s", id, v))
		}
	}
	return o
}

// verdictOf returns the verdict of a row of notesd check. It is notRun if the report does not have
// the row.
func (e evidence) verdictOf(id string) check.Verdict {
	if i := slices.IndexFunc(e.report.Rows, func(f check.Finding) bool { return f.ID == id }); i >= 0 {
		return e.report.Rows[i].Verdict
	}
	return notRun
}

// writeSummary writes for people the outcome of each item, with the command that runs its tests
// alone, and the last lines of every test that failed. It returns the worst verdict.
func (e evidence) writeSummary(out io.Writer) (check.Verdict, error) {
	var b strings.Builder
	all, counts := check.NotApplicable, map[check.Verdict]int{}
	for _, it := range checklist {
		o := e.outcomeOf(it)
		o.write(&b, it)
		all = worst(all, o.verdict)
		counts[o.verdict]++
	}
	for _, name := range e.tests.failed() { // also those that the checklist does not name
		all = worst(all, check.Fail)
		fmt.Fprintf(&b, "\n%s, its last lines:\n%s\n", name, strings.Join(e.tests[name].said, "\n"))
	}
	fmt.Fprintf(&b, "\n%d rows: %d ok, %d failed, %d not run, %d skipped, %d to look at\n", len(checklist),
		counts[check.OK],
		counts[check.Fail], counts[notRun], counts[skipped], counts[check.Warn]+counts[check.Unknown])
	_, err := io.WriteString(out, b.String())
	return all, err
}

// write writes the verdict, the time and the name of an item, and below them its command and its
// problems.
func (o outcome) write(b *strings.Builder, it item) {
	verdict := string(o.verdict)
	if worst(o.verdict, notRun) == o.verdict {
		verdict = strings.ToUpper(verdict)
	}
	fmt.Fprintf(b, "%-7s %7s  %s\n", verdict, seconds(o.took), it.promise)
	below := []string{goTest("-v ", it.allTests())}
	if len(it.rows) > 0 {
		below = append(below, "make check-setup: "+strings.Join(it.rows, ", "))
	}
	for _, problem := range o.problems {
		below = append(below, "! "+check.Printable(problem))
	}
	for _, line := range below {
		fmt.Fprintf(b, "%17s%s\n", "", line)
	}
}
