package e2e

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"notesd/internal/testserver"
	"notesd/store/storetest"
)

// A variable is a setting as docs/CONFIGURATION.md has it, which a test keeps
// in step with the code.
type variable struct{ name, initial, allowed string }

// variables are all of them but those that compose reads.
func variables(t *testing.T) (all []variable) {
	t.Helper()
	page, err := os.ReadFile("../docs/CONFIGURATION.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(page), "<!-- end -->")
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (.*?) \\| (.*?) \\|").FindAllStringSubmatch(table, -1) {
		if !strings.HasPrefix(m[3], "read by compose") {
			allowed, _, _ := strings.Cut(m[3], " (also from a file")
			all = append(all, variable{m[1], m[2], allowed})
		}
	}
	if len(all) < 40 {
		t.Fatalf("docs/CONFIGURATION.md has only %d settings", len(all))
	}
	return all
}

// Every variable by a real process: the default that is documented is in force,
// what is set is, and what lies beyond its bounds is refused, in one line that
// says what is allowed.
func TestEveryVariable(t *testing.T) {
	t.Parallel()
	all := variables(t)
	t.Run("default", func(t *testing.T) {
		t.Parallel()
		p := bareProcess(t, freePort(t))
		p.start()
		p.awaitReady()
		made := strings.TrimSpace(readFile(t, p.data("admin-token")))
		var state runtimeState
		p.visitor().as("Authorization", "Bearer "+made).get("/api/runtime").want(http.StatusOK).decode(&state)
		force := state.Limits.Settings
		for _, v := range all {
			documented := regexp.MustCompile("^`([^`]+)`").FindStringSubmatch(v.initial)
			if got, set := force[v.name]; !set || documented != nil && v.name != "BACKEND_PORT" && got != documented[1] {
				t.Errorf("%s is %q by default, documented is %s", v.name, got, v.initial)
			}
		}
	})
	t.Run("set", func(t *testing.T) {
		t.Parallel()
		p := bareProcess(t, freePort(t))
		chosen := chosenSettings(t, p.port)
		for _, v := range all {
			if chosen[v.name].set == "" {
				t.Errorf("%s is not tried", v.name)
			}
		}
		for name, c := range chosen {
			p.settings = append(p.settings, name+"="+c.set)
		}
		p.start()
		p.awaitReady()
		var got runtimeState
		p.administrator().get("/api/runtime").want(http.StatusOK).decode(&got)
		for name, c := range chosen {
			if now := got.Limits.Settings[name]; now != c.shown && now != c.set {
				t.Errorf("%s=%s is shown as %q, want %q", name, c.set, now, c.shown)
			}
		}
	})
	for _, side := range []string{"below", "above"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			refusesEach(t, all, side == "above")
		})
	}
}

// A choice is what a setting is set to, and how it is shown, if not so.
type choice struct{ set, shown string }

// chosenSettings has a value for every setting, none of them its default.
func chosenSettings(t *testing.T, port int) map[string]choice {
	postgres, redis := storetest.Postgres(t), testserver.NewSentinel(t)
	return map[string]choice{
		"APP_ENV": {"production", ""}, "NODE_ENV": {"production", ""}, "BACKEND_PORT": {fmt.Sprint(port), ""}, "HOST": {"localhost", ""},
		"DATA_DIR": {"elsewhere", ""}, "DATABASE_URL": {postgres, "REDACTED"}, "DATABASE_CHANNEL_URL": {postgres, "REDACTED"},
		"DATABASE_PASSWORD": {"a password of my own", "REDACTED"}, "DATABASE_MAX_CONNS": {"40", ""},
		"REDIS_URL": {"redis://" + testserver.SentinelMaster, "REDACTED"}, "REDIS_SENTINELS": {strings.Join(redis.Addresses, ","), ""},
		"SESSION_SECRET": {"0123456789abcdef0123456789abcdef", "REDACTED"},
		"ADMIN_TOKEN":    {adminToken, "REDACTED"}, "REGISTRATION": {"closed", ""}, "WEB": {"false", ""}, "CORS_ORIGIN": {"https://notes.example.com", ""},
		"ALLOWED_HOSTS": {"notes.example.com", ""}, "TRUSTED_PROXIES": {"10.0.0.0/8", ""}, "RATE_LIMIT_MAX_REQUESTS": {"17", ""}, "RATE_LIMIT_WINDOW_MS": {"1700", ""},
		"BODY_PARSER_LIMIT": {"17kb", ""}, "TRASH_RETENTION_DAYS": {"17", ""}, "HISTORY_DAYS": {"17", ""}, "SESSIONS_PER_USER": {"17", ""},
		"QUOTA_NOTES": {"17", ""}, "QUOTA_MB": {"17", ""}, "CLUSTER_MODE": {"1", ""}, "MAX_WORKERS": {"1", ""},
		"WORKERS_PER_SHARD": {"17", ""}, "QUEUE_LENGTH": {"17", ""}, "QUEUE_TIMEOUT": {"17ms", ""}, "REQUEST_TIMEOUT": {"17s", ""},
		"GOMAXPROCS": {"1", ""}, "GOMEMLIMIT": {"170MiB", ""}, "MAX_OLD_SPACE_SIZE": {"171", ""}, "ENABLE_MEMORY_MONITORING": {"1", ""},
		"MEMORY_MONITOR_INTERVAL": {"17s", ""}, "MEMORY_THRESHOLD_MB": {"117", ""}, "CACHE_SIZE_MB": {"17", ""},
		"ALERT_WEBHOOK_URL": {"http://127.0.0.1:9/", "REDACTED"}, "ALERT_WEBHOOK_SECRET": {"0f1e2d3c4b5a69788796a5b4c3d2e1f0", "REDACTED"},
		"SHUTDOWN_DELAY": {"17ms", ""}, "SHUTDOWN_TIMEOUT": {"17s", ""},
		"RESTART_THRESHOLD": {"17", ""}, "RESTART_WINDOW": {"17s", ""}, "LOG_LEVEL": {"debug", ""}, "LOG_FORMAT": {"json", ""},
		"ENABLE_PERFORMANCE_LOGGING": {"true", ""}, "ENABLE_METRICS_COLLECTION": {"1", ""}, "ENABLE_WEB_VITALS_LOGGING": {"true", ""},
	}
}

// refusesEach sets every variable to what is just beyond its bounds, or
// something else that is not allowed: each is refused by a line of its own.
func refusesEach(t *testing.T, all []variable, above bool) {
	p := bareProcess(t, freePort(t))
	p.settings = nil
	var tried []variable
	for _, v := range all {
		if value := refusable(t, v, above); value != "" {
			p.settings = append(p.settings, v.name+"="+value)
			tried = append(tried, v)
		}
	}
	said := p.fails()
	for _, v := range tried {
		if n := linesWith(said, fmt.Sprintf("%s=", v.name)); n != 1 || linesWith(said, "is not "+v.allowed) == 0 {
			t.Errorf("%d lines about %s, want one that says %q", n, v.name, v.allowed)
		}
	}
	if len(tried) != len(all)-2 { // DATA_DIR and DATABASE_PASSWORD are any text
		t.Errorf("%d of %d settings were tried", len(tried), len(all))
	}
	if t.Failed() {
		t.Log(said)
	}
}

// refusable is a value of v that must be refused, by its bounds as documented; empty: any text is allowed.
func refusable(t *testing.T, v variable, above bool) string {
	t.Helper()
	pick := func(low, high string) string { return map[bool]string{false: low, true: high}[above] }
	if m := regexp.MustCompile(`^a whole number from (\d+) to (\d+)$`).FindStringSubmatch(v.allowed); m != nil {
		low, _ := strconv.Atoi(m[1])
		high, _ := strconv.Atoi(m[2])
		return pick(strconv.Itoa(low-1), strconv.Itoa(high+1))
	}
	if m := regexp.MustCompile(`^a duration from (\w+) to (\w+),`).FindStringSubmatch(v.allowed); m != nil {
		low, _ := time.ParseDuration(m[1])
		high, _ := time.ParseDuration(m[2])
		return pick((low - time.Microsecond).String(), (high + time.Microsecond).String())
	}
	switch {
	case strings.HasPrefix(v.allowed, "a size from 1kb to 1gb"):
		return pick("1023", "1073741825")
	case strings.HasPrefix(v.allowed, "off, or a size from 16MiB"):
		return pick("16777215", "15MiB") // it has no upper bound, and what Go can't read it refuses itself
	case strings.Contains(v.allowed, "the path of a SQLite file"):
		return "mysql://db/notes"
	case v.allowed == "a directory", v.allowed == "text":
		return ""
	}
	return "§," // no name, address, origin, visible ASCII, list of secrets, or one of some words
}
