package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promtool runs it in deploy/prometheus, and skips the test where there is none.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("needs promtool (bash .ci/setup.sh installs it on Debian)")
	}
	cmd := exec.Command("promtool", args...)
	cmd.Dir = "deploy/prometheus"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// The alerts do what their unit tests say.
func TestPrometheusRules(t *testing.T) {
	promtool(t, "check", "config", "--syntax-only", "prometheus.yml")
	promtool(t, "check", "rules", "--lint-fatal", "rules.yml")
	promtool(t, "test", "rules", "rules_test.yml")
}

// Each alert has a unit test in which it fires and one in which it does not,
// a paragraph that says what to do, and the link to it.
func TestAlertsDescribed(t *testing.T) {
	rules, tests, page := readText(t, "deploy/prometheus/rules.yml"), readText(t, "deploy/prometheus/rules_test.yml"), readText(t, "docs/OPERATIONS.md")
	names := submatches(`(?m)- alert: (\w+)`, rules)
	if described := submatches(`(?m)^### (Notesd\w+)$`, page); !slices.Equal(names, described) {
		t.Errorf("the rules have %v\ndocs/OPERATIONS.md describes %v", names, described)
	}
	for _, name := range names {
		if !regexp.MustCompile(`alertname: ` + name + `\n +exp_alerts:`).MatchString(tests) {
			t.Errorf("%s fires in no test", name)
		}
		if !strings.Contains(tests, "alertname: "+name+" }") {
			t.Errorf("%s is silent in no test", name)
		}
		if !strings.Contains(rules, "runbook_url: docs/OPERATIONS.md#"+strings.ToLower(name)+"\n") {
			t.Errorf("%s has no link to its paragraph", name)
		}
	}
}

// Every expression of the dashboard is one that Prometheus can read.
func TestDashboard(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readText(t, "deploy/grafana/notesd.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, p := range dashboard.Panels {
		for j, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(target.Expr)
			rules.WriteString(fmt.Sprintf("  - record: panel%d_%d\n    expr: %q\n", i, j, expr))
		}
	}
	if n := strings.Count(rules.String(), "expr:"); n < 20 {
		t.Errorf("the dashboard has %d expressions", n)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}
