package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	goodSecret = "0123456789abcdef0123456789abcdef" // 32 characters: the shortest that production takes
	goodToken  = "fedcba9876543210fedcba9876543210"
)

// fourCores is a machine without control groups, in an empty directory.
func fourCores(t *testing.T) machine {
	return machine{cpus: 4, procs: 4, root: fstest.MapFS{}, dir: t.TempDir()}
}

// inProduction is the least that production wants, and more.
func inProduction(more ...string) []string {
	return append([]string{
		"APP_ENV=production", "SESSION_SECRET=" + goodSecret, "ADMIN_TOKEN=" + goodToken,
		"CORS_ORIGIN=https://notes.example",
	}, more...)
}

// a reading is a text and the value it stands for.
type reading struct {
	text string
	want any
}

// a settingTest is what a setting gives and what it takes.
type settingTest struct {
	name     string
	with     []string // what the setting needs beside it
	get      func(Config) any
	initial  any
	inProd   any // nil: the same
	accepted []reading
	refused  []string
	allowed  string // as the mistake words it
}

// What is allowed, where that takes long to say.
const (
	aToken = "a token of visible ASCII, in production of at least 32 characters, not always the same ones, and no placeholder; " +
		"make one: openssl rand -hex 32"
	someSecrets = "a comma list of secrets, in production each of at least 32 characters, not always the same ones, and no placeholder; " +
		"make one: openssl rand -hex 32"
	someOrigins = "a comma list of http:// or https:// origins with a host and maybe a port, without path, slash or *"
	aRedis      = "a redis:// or rediss:// URL such as redis://:password@host:6379/0" + inURL + ", in production without placeholder"
)

// settingTests has a test for every setting but those that compose alone reads.
var settingTests = []settingTest{{
	name: "APP_ENV", get: func(c Config) any { return c.Env }, initial: "development", inProd: "production",
	accepted: []reading{{"development", "development"}},
	refused:  []string{"Production", "prod", "test", "staging", " production"},
	allowed:  "one of development, production",
}, {
	name: "NODE_ENV", get: func(c Config) any { return c.Env }, initial: "development", inProd: "production",
	accepted: []reading{{"development", "development"}},
	refused:  []string{"Production", "test"},
	allowed:  "one of development, production",
}, {
	name: "BACKEND_PORT", get: func(c Config) any { return c.Port }, initial: 3001,
	accepted: []reading{{"0", 0}, {"80", 80}, {"65535", 65535}},
	refused:  []string{"-1", "65536", "http", "3001.0", "0x50", "1e3", "3 001", "99999999999999999999"},
	allowed:  "a whole number from 0 to 65535",
}, {
	name: "HOST", get: func(c Config) any { return c.Host }, initial: "127.0.0.1", inProd: "",
	accepted: []reading{
		{"all", ""}, {"0.0.0.0", "0.0.0.0"}, {"::1", "::1"}, {"localhost", "localhost"},
		{"a-b.example", "a-b.example"},
	},
	refused: []string{"[::1]", "127.0.0.1:80", "http://a", "a b", "-a", "fe80::1%eth0", "a/"},
	allowed: "an IP address, a host name, or all",
}, {
	name: "DATA_DIR", get: func(c Config) any { return c.DataDir }, initial: "data",
	accepted: []reading{{"/var/lib/notesd", "/var/lib/notesd"}},
}, {
	name: "DATABASE_URL", get: func(c Config) any { return c.DatabaseURL.Reveal() },
	initial: filepath.Join("data", "notes.db"),
	accepted: []reading{
		{"postgres://u:p@db/notes", "postgres://u:p@db/notes"},
		{"postgres://u:p@ss@db/notes", "postgres://u:p@ss@db/notes"}, // the last @ ends a password
		{"postgresql://db:5433/notes?sslmode=require", "postgresql://db:5433/notes?sslmode=require"},
		{"postgres:///notes?host=/run/postgresql", "postgres:///notes?host=/run/postgresql"},
		{"/srv/notes.db", "/srv/notes.db"}, {"a@b.db", "a@b.db"}, {"./x:y.db", "./x:y.db"}, {"file:/srv/notes.db", "file:/srv/notes.db"}, {"sqlite:notes.db", "sqlite:notes.db"},
	},
	refused: []string{
		"mysql://db/notes", "postgres://", "postgres:///notes", "postgres://u:p%zz@db/notes", "file:", "sqlite:",
		"postgres://u:pa@ss/word@db/notes", "postgres://u:pa@ss?word@db/notes", "postgres://u:pa@ss#word@db/notes",
		"postgres://u:12/word@db/notes", "postgres://u:12#word/notes",
		"/", "postgres:/u:p@db/notes", "postgres:u:p@db/notes", "postgres//u:p@db/notes", "//u:p@db/notes", "sqlite3:notes.db", "C:notes.db",
	},
	allowed: "a postgres:// URL with a host" + inURL + ", or the path of a SQLite file (file: or sqlite: may stand before it)",
}, {
	name: "DATABASE_CHANNEL_URL", with: []string{"DATABASE_URL=postgres://pooler/notes"},
	get: func(c Config) any { return c.ChannelURL.Reveal() }, initial: "",
	accepted: []reading{
		{"postgres://u:p@db/notes", "postgres://u:p@db/notes"},
		{"postgres:///notes?host=/run/postgresql", "postgres:///notes?host=/run/postgresql"},
	},
	refused: []string{"mysql://db/notes", "postgres://", "postgres:///notes", "postgres://u:p%zz@db/notes", "notes.db"},
	allowed: "a postgres:// URL with a host" + inURL,
}, {
	name: "DATABASE_PASSWORD", with: []string{"DATABASE_URL=postgres://u@db/notes"},
	get: func(c Config) any { return c.DatabaseURL.Reveal() }, initial: "postgres://u@db/notes",
	accepted: []reading{{"a/b@c:d?e%", "postgres://u:a%2Fb%40c%3Ad%3Fe%25@db/notes"}},
}, {
	name: "REDIS_URL", get: func(c Config) any { return c.RedisURL.Reveal() }, initial: "",
	accepted: []reading{
		{"redis://localhost", "redis://localhost"}, {"redis://:p@cache:6379/0", "redis://:p@cache:6379/0"},
		{"rediss://u:p@cache/15", "rediss://u:p@cache/15"},
	},
	refused: []string{
		"localhost:6379", "http://cache", "redis://", "redis://:6379", "redis://cache/db", "redis://:p%zz@cache",
		"redis://:pa@ss/word@cache", "redis://:pa@ss#word@cache",
	},
	allowed: aRedis,
}, {
	name: "REDIS_SENTINELS", with: []string{"REDIS_URL=redis://main"},
	get: func(c Config) any { return c.RedisSentinels }, initial: []string(nil),
	accepted: []reading{{"one:26379, [fd00::1]:26379", []string{"one:26379", "[fd00::1]:26379"}}},
	refused:  []string{"one", "one:", ":26379", "one:0", "one:65536", "one:26379,", "redis://one:26379"},
	allowed:  "a comma list of hosts with ports, such as 10.0.0.5:26379,10.0.0.6:26379",
}, {
	name: "SESSION_SECRET", get: func(c Config) any { return reveal(c.SessionSecrets) },
	initial: []string(nil), inProd: []string{goodSecret},
	accepted: []reading{{"short", []string{"short"}}, {"new, old", []string{"new", "old"}}},
	refused:  []string{",", "new,", "new,,old"},
	allowed:  someSecrets,
}, {
	name: "ADMIN_TOKEN", get: func(c Config) any { return c.AdminToken.Reveal() }, initial: "", inProd: goodToken,
	accepted: []reading{{"short", "short"}},
	refused:  []string{"two words", "tab\t", "clé", "end\n"},
	allowed:  aToken,
}, {
	name: "REGISTRATION", get: func(c Config) any { return c.RegistrationOpen }, initial: true,
	accepted: []reading{{"open", true}, {"closed", false}},
	refused:  []string{"Closed", "no", "false"},
	allowed:  "one of open, closed",
}, {
	name: "WEB", get: func(c Config) any { return c.Web }, initial: true,
	accepted: []reading{{"true", true}, {"false", false}},
	refused:  []string{"no", "off"},
	allowed:  "one of true, false, 1, 0",
}, {
	name: "CORS_ORIGIN", get: func(c Config) any { return c.CORSOrigins },
	initial: []string{"http://localhost:3000"}, inProd: []string{"https://notes.example"},
	accepted: []reading{
		{"https://a.example", []string{"https://a.example"}},
		{"http://a:8080 ,https://b", []string{"http://a:8080", "https://b"}},
		{"HTTPS://Notes.Example:443,http://b:80,http://c:443", []string{"https://notes.example", "http://b", "http://c:443"}},
		{"http://[::1]:3000,http://10.0.0.1", []string{"http://[::1]:3000", "http://10.0.0.1"}},
	},
	refused: []string{
		"*", "null", "a.example", "https://*.example", "https://a.example/", "https://a.example/app", "https://a?b",
		"https://a#b", "https://u@a", "https://", "ftp://a", "https://a:", "https://a:0", "https://a:080",
		"https://a:65536", "https://a,,https://b",
		"https://münchen.example", "http://[fe80::1%25eth0]",
	},
	allowed: someOrigins,
}, {
	name: "ALLOWED_HOSTS", get: func(c Config) any { return c.AllowedHosts }, initial: []string(nil),
	accepted: []reading{{"Dev.Example.com, a", []string{"dev.example.com", "a"}}},
	refused:  []string{"*", "https://a.example", "a.example:3001", "a.example,,b", ".example.com"},
	allowed:  "a comma list of host names without scheme and port, such as notes.example.com",
}, {
	name: "TRUSTED_PROXIES", get: func(c Config) any { return c.TrustedProxies }, initial: []netip.Prefix(nil),
	accepted: []reading{
		{"10.0.0.0/8", prefixes("10.0.0.0/8")}, {"10.1.2.3/8, fd00::/8", prefixes("10.0.0.0/8", "fd00::/8")},
		{"192.0.2.7,::1", prefixes("192.0.2.7/32", "::1/128")}, {"::ffff:192.0.2.7", prefixes("192.0.2.7/32")},
	},
	refused: []string{
		"proxy", "10.0.0.0/33", "10.0.0", "fe80::1%eth0", "10.0.0.0/8,", "::ffff:10.0.0.0/104", "10.0.0.0/08",
	},
	allowed: "a comma list of networks or addresses, such as 10.0.0.0/8, fd00::/8 or 192.0.2.7",
}, {
	name: "RATE_LIMIT_MAX_REQUESTS", get: func(c Config) any { return c.RateLimitMax }, initial: 1000,
	accepted: []reading{{"0", 0}, {"1000000000", 1000000000}},
	refused:  []string{"-1", "1000000001", "many"},
	allowed:  "a whole number from 0 to 1000000000",
}, {
	name: "RATE_LIMIT_WINDOW_MS", get: func(c Config) any { return c.RateLimitWindow }, initial: time.Minute,
	accepted: []reading{{"1", time.Millisecond}, {"900000", 15 * time.Minute}, {"604800000", 7 * 24 * time.Hour}},
	refused:  []string{"0", "604800001", "1m", "60s"},
	allowed:  "a whole number from 1 to 604800000",
}, {
	name: "BODY_PARSER_LIMIT", get: func(c Config) any { return c.BodyLimit }, initial: int64(10 << 20),
	accepted: []reading{
		{"1kb", int64(1024)}, {"512KB", int64(512 << 10)}, {"1.5mb", int64(3 << 19)}, {"1 mb", int64(1 << 20)},
		{"1gb", int64(1 << 30)}, {"2048", int64(2048)}, {"2048b", int64(2048)},
	},
	refused: []string{
		"1023", "1.1gb", "-1kb", "mb", "10 megabytes", "1tb", "10mb ", "1e6", "0x400", "999999999999999999999gb",
	},
	allowed: "a size from 1kb to 1gb, such as 10mb, 512kb or 1048576",
}, {
	name: "TRASH_RETENTION_DAYS", get: func(c Config) any { return c.TrashRetention }, initial: 30 * 24 * time.Hour,
	accepted: []reading{{"1", 24 * time.Hour}, {"36500", 36500 * 24 * time.Hour}},
	refused:  []string{"0", "36501", "30d"},
	allowed:  "a whole number from 1 to 36500",
}, {
	name: "HISTORY_DAYS", get: func(c Config) any { return c.History }, initial: 365 * 24 * time.Hour,
	accepted: []reading{{"0", time.Duration(0)}, {"36500", 36500 * 24 * time.Hour}},
	refused:  []string{"-1", "36501", "1y"},
	allowed:  "a whole number from 0 to 36500",
}, {
	name: "SESSIONS_PER_USER", get: func(c Config) any { return c.SessionsPerUser }, initial: 100,
	accepted: []reading{{"1", 1}, {"10000", 10_000}},
	refused:  []string{"0", "10001", "many"},
	allowed:  "a whole number from 1 to 10000",
}, {
	name: "QUOTA_NOTES", get: func(c Config) any { return c.QuotaNotes }, initial: 0,
	accepted: []reading{{"0", 0}, {"1000000000", 1000000000}},
	refused:  []string{"-1", "1000000001", "none"},
	allowed:  "a whole number from 0 to 1000000000",
}, {
	name: "QUOTA_MB", get: func(c Config) any { return c.QuotaMB }, initial: 0,
	accepted: []reading{{"0", 0}, {"1000000000", 1000000000}},
	refused:  []string{"-1", "1000000001", "1gb"},
	allowed:  "a whole number from 0 to 1000000000",
}, {
	name: "CLUSTER_MODE", get: func(c Config) any { return c.Runtime.Shards }, initial: 4,
	accepted: []reading{{"true", 4}, {"1", 4}, {"false", 1}, {"0", 1}},
	refused:  []string{"TRUE", "yes", "on", "2", "t"},
	allowed:  "one of true, false, 1, 0",
}, {
	name: "MAX_WORKERS", get: func(c Config) any { return c.Runtime.Shards }, initial: 4,
	accepted: []reading{{"1", 1}, {"3", 3}, {"4", 4}, {"5", 4}, {"2147483647", 4}},
	refused:  []string{"0", "-1", "two", "2147483648", "1.5"},
	allowed:  "a whole number from 1 to 2147483647",
}, {
	name: "WORKERS_PER_SHARD", get: func(c Config) any { return c.Runtime.WorkersPerShard }, initial: 4,
	accepted: []reading{{"1", 1}, {"64", 64}},
	refused:  []string{"0", "65", "x"},
	allowed:  "a whole number from 1 to 64",
}, {
	name: "DATABASE_MAX_CONNS", get: func(c Config) any { return c.Runtime.DatabaseMaxConns }, initial: 18,
	accepted: []reading{{"6", 6}, {"10000", 10000}},
	refused:  []string{"0", "2", "10001", "x"},
	allowed:  "a whole number from 3 to 10000",
}, {
	name: "QUEUE_LENGTH", get: func(c Config) any { return c.QueueLength }, initial: 4 * 4 * 32,
	accepted: []reading{{"0", 0}, {"1000000", 1000000}},
	refused:  []string{"-1", "1000001", "long"},
	allowed:  "a whole number from 0 to 1000000",
}, {
	name: "QUEUE_TIMEOUT", get: func(c Config) any { return c.QueueTimeout }, initial: time.Second,
	accepted: []reading{{"1ms", time.Millisecond}, {"1m", time.Minute}},
	refused:  []string{"0", "999us", "1m1ms", "1", "1000", "-1s", "soon"},
	allowed:  "a duration from 1ms to 1m, such as 500ms, 10s or 1m30s",
}, {
	name: "REQUEST_TIMEOUT", get: func(c Config) any { return c.RequestTimeout }, initial: 30 * time.Second,
	accepted: []reading{{"1ms", time.Millisecond}, {"1h", time.Hour}},
	refused:  []string{"0", "1h1s", "30"},
	allowed:  "a duration from 1ms to 1h, such as 500ms, 10s or 1m30s",
}, {
	name: "SHUTDOWN_DELAY", get: func(c Config) any { return c.ShutdownDelay },
	initial: time.Duration(0), inProd: 5 * time.Second,
	accepted: []reading{{"0", time.Duration(0)}, {"1s", time.Second}, {"10m", 10 * time.Minute}},
	refused:  []string{"-1s", "5", "11m"},
	allowed:  "a duration from 0s to 10m, such as 500ms, 10s or 1m30s",
}, {
	name: "SHUTDOWN_TIMEOUT", get: func(c Config) any { return c.ShutdownTimeout }, initial: 10 * time.Second,
	accepted: []reading{{"1ms", time.Millisecond}, {"1h", time.Hour}},
	refused:  []string{"0", "10", "61m"},
	allowed:  "a duration from 1ms to 1h, such as 500ms, 10s or 1m30s",
}, {
	name: "RESTART_THRESHOLD", get: func(c Config) any { return c.RestartThreshold }, initial: 5,
	accepted: []reading{{"1", 1}, {"1000000", 1000000}},
	refused:  []string{"0", "1000001"},
	allowed:  "a whole number from 1 to 1000000",
}, {
	name: "RESTART_WINDOW", get: func(c Config) any { return c.RestartWindow }, initial: time.Minute,
	accepted: []reading{{"1s", time.Second}, {"24h", 24 * time.Hour}},
	refused:  []string{"0", "999ms", "25h", "60"},
	allowed:  "a duration from 1s to 24h, such as 500ms, 10s or 1m30s",
}, {
	name: "GOMAXPROCS", get: func(c Config) any { return c.Runtime.GOMAXPROCS }, initial: 0,
	accepted: []reading{{"1", 1}, {"2", 2}, {"1024", 1024}},
	refused:  []string{"0", "-1", "1025", "all"},
	allowed:  "a whole number from 1 to 1024",
}, {
	name: "GOMEMLIMIT", get: func(c Config) any { return c.Runtime.MemoryLimit }, initial: int64(0),
	accepted: []reading{
		{"off", int64(0)}, {"16MiB", int64(16 << 20)}, {"16777216", int64(16 << 20)}, {"16777217B", int64(16<<20 + 1)},
		{"2GiB", int64(2 << 30)}, {"1TiB", int64(1 << 40)}, {"16384KiB", int64(16 << 20)},
	},
	refused: []string{"0", "15MiB", "16777215", "512MB", "512mib", "1.5GiB", "-1", "OFF", "9999999999TiB", "512 MiB"},
	allowed: "off, or a size from 16MiB, such as 512MiB or 2GiB",
}, {
	name: "MAX_OLD_SPACE_SIZE", get: func(c Config) any { return c.Runtime.MemoryLimit }, initial: int64(0),
	accepted: []reading{{"16", int64(16 << 20)}, {"4096", int64(4 << 30)}, {"16777216", int64(16 << 40)}},
	refused:  []string{"0", "15", "16777217", "512MB", "2.5"},
	allowed:  "a whole number from 16 to 16777216",
}, {
	name: "ENABLE_MEMORY_MONITORING", get: func(c Config) any { return c.MemoryMonitoring }, initial: true,
	accepted: []reading{{"true", true}, {"1", true}, {"false", false}, {"0", false}},
	refused:  []string{"True", "no", "off"},
	allowed:  "one of true, false, 1, 0",
}, {
	name: "MEMORY_MONITOR_INTERVAL", get: func(c Config) any { return c.MemoryMonitorInterval }, initial: time.Minute,
	accepted: []reading{
		{"60s", time.Minute}, {"60000", time.Minute}, {"10ms", 10 * time.Millisecond},
		{"10", 10 * time.Millisecond}, {"24h", 24 * time.Hour},
	},
	refused: []string{"0", "9", "9ms", "25h", "-60000", "often"},
	allowed: "a duration from 10ms to 24h, such as 500ms, 10s or 1m30s, or whole milliseconds",
}, {
	name: "MEMORY_THRESHOLD_MB", get: func(c Config) any { return c.MemoryThreshold }, initial: int64(512 << 20),
	accepted: []reading{{"1", int64(1 << 20)}, {"16777216", int64(16 << 40)}},
	refused:  []string{"0", "16777217", "512MB"},
	allowed:  "a whole number from 1 to 16777216",
}, {
	name: "CACHE_SIZE_MB", get: func(c Config) any { return c.CacheSize }, initial: int64(12 << 20),
	accepted: []reading{{"0", int64(0)}, {"16777216", int64(16 << 40)}},
	refused:  []string{"-1", "16777217", "64MB"},
	allowed:  "a whole number from 0 to 16777216",
}, {
	name: "ALERT_WEBHOOK_URL", get: func(c Config) any { return c.AlertWebhookURL.Reveal() }, initial: "",
	accepted: []reading{
		{"https://hooks.example/T0/B0", "https://hooks.example/T0/B0"},
		{"http://127.0.0.1:9/", "http://127.0.0.1:9/"},
	},
	refused: []string{"hooks.example", "ftp://hooks.example", "https://", "https:///x", "https://%zz"},
	allowed: "a http:// or https:// URL",
}, {
	name: "ALERT_WEBHOOK_SECRET", get: func(c Config) any { return c.AlertWebhookSecret.Reveal() }, initial: "",
	accepted: []reading{{"a!~", "a!~"}},
	refused:  []string{"with space", "\x7f", "é"},
	allowed:  aToken,
}, {
	name: "LOG_LEVEL", get: func(c Config) any { return c.LogLevel }, initial: slog.LevelInfo,
	accepted: []reading{
		{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn},
		{"error", slog.LevelError},
	},
	refused: []string{"INFO", "warning", "info+1", "4"},
	allowed: "one of debug, info, warn, error",
}, {
	name: "LOG_FORMAT", get: func(c Config) any { return c.LogFormat }, initial: "text", inProd: "json",
	accepted: []reading{{"json", "json"}, {"text", "text"}},
	refused:  []string{"JSON", "logfmt"},
	allowed:  "one of json, text",
}, {
	name: "ENABLE_PERFORMANCE_LOGGING", get: func(c Config) any { return c.PerformanceLogging }, initial: false,
	accepted: []reading{{"true", true}, {"1", true}, {"false", false}, {"0", false}},
	refused:  []string{"yes"},
	allowed:  "one of true, false, 1, 0",
}, {
	name: "ENABLE_METRICS_COLLECTION", get: func(c Config) any { return c.MetricsCollection }, initial: true,
	accepted: []reading{{"true", true}, {"1", true}, {"false", false}, {"0", false}},
	refused:  []string{"no"},
	allowed:  "one of true, false, 1, 0",
}, {
	name: "ENABLE_WEB_VITALS_LOGGING", get: func(c Config) any { return c.WebVitalsLogging }, initial: false,
	accepted: []reading{{"true", true}, {"1", true}, {"false", false}, {"0", false}},
	refused:  []string{"y"},
	allowed:  "one of true, false, 1, 0",
}}

func reveal(list []Secret) (texts []string) {
	for _, s := range list {
		texts = append(texts, s.Reveal())
	}
	return texts
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

// Each setting gives its default, takes what it should, and says of the rest which variable, what value, what instead.
func TestLoad(t *testing.T) {
	same := cmpopts.EquateComparable(netip.Prefix{})
	for _, r := range settingTests {
		t.Run(r.name, func(t *testing.T) {
			m := fourCores(t)
			check := func(environ []string, want any) {
				t.Helper()
				c, err := load(environ, m)
				if err != nil {
					t.Errorf("Load(%q): %v", environ, err)
				} else if diff := cmp.Diff(want, r.get(c), same); diff != "" {
					t.Errorf("Load(%q): -want +got\n%s", environ, diff)
				}
			}
			check(r.with, r.initial)
			check(append(r.with, r.name+"="), r.initial)
			if r.inProd != nil {
				check(inProduction(r.with...), r.inProd)
			} else {
				check(inProduction(r.with...), r.initial)
			}
			for _, a := range r.accepted {
				check(append(r.with, r.name+"="+a.text), a.want)
			}
			for _, text := range r.refused {
				_, err := load(append(r.with, r.name+"="+text), m)
				want := fmt.Sprintf("%s=%q is not %s", r.name, text, r.allowed)
				if isSecret(r.name) {
					want = fmt.Sprintf("%s=REDACTED is not %s", r.name, r.allowed)
				}
				if fmt.Sprint(err) != want {
					t.Errorf("Load(%s=%s) = %v\nwant %s", r.name, text, err, want)
				}
			}
		})
	}
}

func isSecret(name string) bool {
	return slices.ContainsFunc(new(loader).table(), func(s setting) bool { return s.name == name && s.secret })
}

// No setting goes without a row in TestLoad.
func TestLoadIsComplete(t *testing.T) {
	for _, s := range new(loader).table() {
		tested := slices.ContainsFunc(settingTests, func(r settingTest) bool { return r.name == s.name })
		if compose := s.parser.read == nil; tested == compose {
			t.Errorf("%s: tested %v, for compose only %v", s.name, tested, compose)
		}
	}
}

func TestProductionRefuses(t *testing.T) {
	const (
		session  = "SESSION_SECRET=REDACTED is not " + someSecrets
		admin    = "ADMIN_TOKEN=REDACTED is not " + aToken
		database = "=REDACTED holds a placeholder: production needs a password of your own"
	)
	for name, test := range map[string]struct {
		environ []string
		want    string
	}{
		"unset": {[]string{"NODE_ENV=production"}, "" +
			"SESSION_SECRET is not set: production needs " + someSecrets + "\n" +
			"ADMIN_TOKEN is not set: production needs " + aToken + "\n" +
			"CORS_ORIGIN is not set: production needs " + someOrigins},
		"short secret":       {inProduction("SESSION_SECRET=" + goodSecret[1:]), session},
		"short old secret":   {inProduction("SESSION_SECRET=" + goodSecret + "," + goodSecret[1:]), session},
		"placeholder secret": {inProduction("SESSION_SECRET=Your-Secret-Key-Change-In-Production-Please"), session},
		"one character":      {inProduction("SESSION_SECRET=" + strings.Repeat("a", 40)), session},
		"two characters":     {inProduction("SESSION_SECRET=" + strings.Repeat("a", 39) + "b"), session},
		"a pattern":          {inProduction("SESSION_SECRET=" + strings.Repeat("12345678", 5)), session},
		"token of one":       {inProduction("ADMIN_TOKEN=" + strings.Repeat("a", 40)), admin},
		"equal secrets": {inProduction("ADMIN_TOKEN=" + goodSecret),
			"ADMIN_TOKEN=REDACTED is the same as the secret in SESSION_SECRET: each needs one of its own; make one: " + secretCommand},
		"webhook signed with the token": {inProduction("ALERT_WEBHOOK_SECRET=" + goodToken),
			"ALERT_WEBHOOK_SECRET=REDACTED is the same as the secret in ADMIN_TOKEN: each needs one of its own; make one: " + secretCommand},
		"short webhook secret": {inProduction("ALERT_WEBHOOK_SECRET=" + goodToken[1:]),
			"ALERT_WEBHOOK_SECRET=REDACTED is not " + aToken},
		"equal to an old secret": {inProduction("SESSION_SECRET=" + goodSecret + "," + goodToken),
			"ADMIN_TOKEN=REDACTED is the same as the secret in SESSION_SECRET: each needs one of its own; make one: " + secretCommand},
		"equal to a password": {inProduction("DATABASE_URL=postgres://u@db/x", "DATABASE_PASSWORD="+goodToken),
			"DATABASE_URL=REDACTED is the same as the secret in ADMIN_TOKEN: each needs one of its own; make one: " + secretCommand},
		"equal passwords": {inProduction("DATABASE_URL=postgres://u:b"+goodSecret+"@db/x", "REDIS_URL=redis://:b"+goodSecret+"@cache"),
			"REDIS_URL=REDACTED is the same as the secret in DATABASE_URL: each needs one of its own; make one: " + secretCommand},
		"short token":       {inProduction("ADMIN_TOKEN=" + goodToken[1:]), admin},
		"placeholder token": {inProduction("ADMIN_TOKEN=change-me-" + goodSecret), admin},
		"placeholder in database URL": {inProduction("DATABASE_URL=postgres://u:changeme@db/notes"),
			"DATABASE_URL" + database},
		"placeholder as database password": {
			inProduction("DATABASE_URL=postgres://u@db/notes", "DATABASE_PASSWORD=change-me"),
			"DATABASE_PASSWORD" + database},
		"placeholder in channel URL": {
			inProduction("DATABASE_URL=postgres://u:x@pooler/notes", "DATABASE_CHANNEL_URL=postgres://u:changeme@db/notes"),
			"DATABASE_CHANNEL_URL" + database},
		"placeholder in Redis URL": {inProduction("REDIS_URL=redis://:change-me@cache"),
			"REDIS_URL=REDACTED is not " + aRedis},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := load(test.environ, fourCores(t)); fmt.Sprint(err) != test.want {
				t.Errorf("Load(%q) = %v\nwant %s", test.environ, err, test.want)
			}
		})
	}
	if _, err := load(inProduction("SESSION_SECRET="+goodSecret+", "+strings.ToUpper(goodSecret)), fourCores(t)); err != nil {
		t.Errorf("two good secrets: %v", err)
	}
}

// What contradicts another setting is a mistake that names both.
func TestContradictions(t *testing.T) {
	for want, environ := range map[string][]string{
		`NODE_ENV="production" contradicts APP_ENV="development": set one of them, or both to the same`: {
			"APP_ENV=development", "NODE_ENV=production", "SESSION_SECRET=" + goodSecret, "ADMIN_TOKEN=" + goodToken,
			"CORS_ORIGIN=https://a"},
		"DATABASE_PASSWORD=REDACTED is only for a postgres:// DATABASE_URL":              {"DATABASE_PASSWORD=x"},
		"DATABASE_CHANNEL_URL=REDACTED is only for a postgres:// DATABASE_URL":           {"DATABASE_CHANNEL_URL=postgres://u@db/notes"},
		"REDIS_SENTINELS needs the master's name in REDIS_URL: redis://:password@NAME/0": {"REDIS_SENTINELS=one:26379"},
		"DATABASE_PASSWORD=REDACTED needs the user's name in DATABASE_CHANNEL_URL: postgres://user@host/name": {
			"DATABASE_URL=postgres://u@pooler/notes", "DATABASE_CHANNEL_URL=postgres://db/notes", "DATABASE_PASSWORD=x"},
		"DATABASE_PASSWORD=REDACTED needs the user's name in DATABASE_URL: postgres://user@host/name": {
			"DATABASE_URL=postgres://db/notes", "DATABASE_PASSWORD=x"},
		"DATABASE_PASSWORD=REDACTED differs from the password in DATABASE_URL: set one of them": {
			"DATABASE_URL=postgres://u:y@db/notes", "DATABASE_PASSWORD=x"},
	} {
		if _, err := load(environ, fourCores(t)); fmt.Sprint(err) != want {
			t.Errorf("Load(%q) = %v\nwant %s", environ, err, want)
		}
	}
	for _, environ := range [][]string{
		inProduction("NODE_ENV=production"),
		{"DATABASE_URL=postgres://u:x@db/notes", "DATABASE_PASSWORD=x"},
		{"DATABASE_URL=postgres://u@pooler/notes", "DATABASE_CHANNEL_URL=postgres://v:y@db/notes", "DATABASE_PASSWORD=x"},
		{"DATABASE_URL=postgres://u:changeme@db/notes"}, // for development it will do
	} {
		if _, err := load(environ, fourCores(t)); err != nil {
			t.Errorf("Load(%q) = %v, want no mistake", environ, err)
		}
	}
}

// One error tells everything, and no secret.
func TestEveryMistakeAtOnce(t *testing.T) {
	_, err := load([]string{
		"BACKEND_PORT=x", "MAX_WORKERS=0", "DATABASE_MAX_CONNS=3", "CLUSTER_MODE=on",
		"REDIS_URL=hunter2", "DATABASE_PASSWORD=hunter2",
	}, fourCores(t))
	list, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err)
	if !ok || len(list.Unwrap()) != 5 { // DATABASE_MAX_CONNS can't be judged before the shards are known
		t.Errorf("Load() = %v, want five mistakes", err)
	}
	if strings.Contains(fmt.Sprint(err), "hunter2") {
		t.Errorf("Load() tells a secret: %v", err)
	}
}

// A value too long to print is cut short, and what cannot be printed is escaped.
func TestMistakesAreReadable(t *testing.T) {
	_, err := load([]string{"LOG_LEVEL=\x1b[2J\n" + strings.Repeat("x", 1<<20)}, fourCores(t))
	if text := fmt.Sprint(err); len(text) > 300 || !strings.HasPrefix(text, `LOG_LEVEL="\x1b[2J\nxxx`) {
		t.Errorf("Load() = %.400s", text)
	}
}

func TestDotEnv(t *testing.T) {
	m := fourCores(t)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(m.dir, ".env"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# ports\nexport BACKEND_PORT=4000\r\nHOST='localhost' # here\nREGISTRATION=\nLOG_LEVEL=debug\n")
	c, err := load([]string{"LOG_LEVEL=error", "HOST="}, m)
	if err != nil || c.Port != 4000 || c.Host != "localhost" || !c.RegistrationOpen || c.LogLevel != slog.LevelError {
		t.Errorf("Load() = port %d, host %s, registration %v, level %v, %v",
			c.Port, c.Host, c.RegistrationOpen, c.LogLevel, err)
	}
	if got, want := settingOf(t, c, "BACKEND_PORT"), (Setting{"BACKEND_PORT", "4000", ".env"}); got != want {
		t.Errorf("setting %v, want %v", got, want)
	}
	if c, err := load(inProduction(), m); err != nil || c.Port != 3001 {
		t.Errorf("Load() in production = port %d, %v; want .env unread", c.Port, err)
	}

	write("SESSION_SECRET=hunter2\nADMIN_TOKEN='hunter2\n")
	want := filepath.Join(m.dir, ".env") + " is not a list of lines NAME=value and # comments"
	if _, err := load(nil, m); fmt.Sprint(err) != want {
		t.Errorf("Load() = %v, want %s", err, want)
	}

	// A $ is a $: the old backend put nothing in its place.
	write("SESSION_SECRET=abc$DEF${GHI}$(jkl)$1\nADMIN_TOKEN=\"x$DEF\\$Y\"\nDATABASE_PASSWORD='$DEF'\nDATABASE_URL=postgres://u@db/$\nREDIS_URL=redis://:$ADMIN_TOKEN@cache\n")
	c, err = load(nil, m)
	got := append(reveal(c.SessionSecrets), c.AdminToken.Reveal(), c.DatabaseURL.Reveal(), c.RedisURL.Reveal())
	literal := []string{"abc$DEF${GHI}$(jkl)$1", "x$DEF$Y", "postgres://u:$DEF@db/$", "redis://:$ADMIN_TOKEN@cache"}
	if err != nil || !slices.Equal(got, literal) {
		t.Errorf("Load() = %q, %v, want %q", got, err, literal)
	}
	if want := []string{"REDIS_URL in .env names $ADMIN_TOKEN: notesd puts no other setting in its place"}; !slices.Equal(c.Warnings, want) {
		t.Errorf("warnings %q, want %q", c.Warnings, want)
	}

	write("APP_ENV=production\n") // an .env may ask for production, and then gets all of its demands
	if _, err := load(nil, m); err == nil {
		t.Error("Load() with APP_ENV=production in .env: no mistake, want three")
	}

	file := filepath.Join(m.dir, ".env")
	if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := load(nil, m); err == nil {
		t.Error("Load() with a directory .env: no mistake")
	}
}

// Alerts that nobody can tell from forged ones are warned of; ADMIN_TOKEN signs none.
func TestUnsignedAlerts(t *testing.T) {
	const hook = "ALERT_WEBHOOK_URL=https://hook.example"
	for _, test := range []struct {
		name    string
		environ []string
		warned  bool
	}{
		{"no webhook", nil, false},
		{"a webhook alone", []string{hook}, true},
		{"a webhook and the token", []string{hook, "ADMIN_TOKEN=" + goodToken}, true},
		{"a webhook and its secret", []string{hook, "ALERT_WEBHOOK_SECRET=b" + goodSecret}, false},
		{"a secret alone", []string{"ALERT_WEBHOOK_SECRET=b" + goodSecret}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := load(test.environ, fourCores(t))
			warned := slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.Contains(w, "alerts are not signed") })
			if err != nil || warned != test.warned {
				t.Errorf("Load() = %v, warnings %q; want one of unsigned alerts: %v", err, c.Warnings, test.warned)
			}
		})
	}
}

func TestSecretFiles(t *testing.T) {
	m := fourCores(t)
	file := func(name, text string) string {
		path := filepath.Join(m.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	environ := []string{
		"SESSION_SECRET_FILE=" + file("session", "from a file\r\n"),
		"ADMIN_TOKEN_FILE=" + file("admin", "token"),
		"DATABASE_URL_FILE=" + file("database", "postgres://u@db/notes\n"),
		"DATABASE_CHANNEL_URL_FILE=" + file("channel", "postgres://v@db/notes\n"),
		"DATABASE_PASSWORD_FILE=" + file("password", " p w \n\n"),
		"REDIS_URL_FILE=" + file("redis", "redis://cache\n"),
		"ALERT_WEBHOOK_URL_FILE=" + file("webhook", "https://hook\n"),
		"ALERT_WEBHOOK_SECRET_FILE=" + file("webhook-secret", "key\n"),
	}
	c, err := load(environ, m)
	if err != nil {
		t.Fatal(err)
	}
	got := reveal(append(c.SessionSecrets, c.AdminToken, c.DatabaseURL, c.ChannelURL, c.RedisURL, c.AlertWebhookURL, c.AlertWebhookSecret))
	want := []string{"from a file", "token", "postgres://u:%20p%20w%20@db/notes", "postgres://v:%20p%20w%20@db/notes", "redis://cache",
		"https://hook", "key"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("secrets from files: -want +got\n%s", diff)
	}
	if got, want := settingOf(t, c, "ADMIN_TOKEN"), (Setting{"ADMIN_TOKEN", "REDACTED", "file"}); got != want {
		t.Errorf("setting %v, want %v", got, want)
	}

	longest := []string{"ADMIN_TOKEN_FILE=" + file("longest", strings.Repeat("x", 64<<10))}
	if _, err := load(longest, m); err != nil {
		t.Errorf("Load(%q) = %v", longest, err)
	}
	for text, want := range map[string]string{
		file("empty", "\n"):                         "empty",
		file("long", strings.Repeat("x", 64<<10+1)): "longer than 65536 bytes",
		filepath.Join(m.dir, "missing"):             "open " + filepath.Join(m.dir, "missing") + ": no such file or directory",
		m.dir:                                       "read " + m.dir + ": is a directory",
	} {
		want = fmt.Sprintf("ADMIN_TOKEN_FILE=%q is not a file with the secret: %s", text, want)
		if _, err := load([]string{"ADMIN_TOKEN_FILE=" + text}, m); fmt.Sprint(err) != want {
			t.Errorf("Load() = %v\nwant %s", err, want)
		}
	}
	both := []string{"ADMIN_TOKEN=x", "ADMIN_TOKEN_FILE=y"}
	if _, err := load(both, m); fmt.Sprint(err) != `ADMIN_TOKEN and ADMIN_TOKEN_FILE="y" are both set: set one of them` {
		t.Errorf("Load(%q) = %v", both, err)
	}
}

// A variable that is nearly a setting is told of, and ends the start in production unless the right one is set too.
func TestMisspeltNames(t *testing.T) {
	m := fourCores(t)
	for _, test := range []struct {
		entry, fault string
		right        string // sets what is meant
	}{
		{"MAX_WORKER=2", "MAX_WORKER is not a setting: is MAX_WORKERS meant?", "MAX_WORKERS=2"},
		{"SESSION_SECRETS_FILE=x", "SESSION_SECRETS_FILE is not a setting: is SESSION_SECRET meant?", "SESSION_SECRET=" + goodSecret},
		{"DATABASE_URI=y", "DATABASE_URI is not a setting: is DATABASE_URL meant?", "DATABASE_URL=notes.db"},
		{"REGISTRATON=closed", "REGISTRATON is not a setting: is REGISTRATION meant?", "REGISTRATION=closed"},
		{"REGISTRAITON=closed", "REGISTRAITON is not a setting: is REGISTRATION meant?", "REGISTRATION=closed"},
		{"registration=closed", "registration is not a setting: is REGISTRATION meant?", "REGISTRATION=closed"},
		{"LOG-LEVEL=debug", "LOG-LEVEL is not a setting: is LOG_LEVEL meant?", "LOG_LEVEL=debug"},
		{"CORS_ORIGINS=x", "CORS_ORIGINS is not a setting: is CORS_ORIGIN meant?", "CORS_ORIGIN=https://a.example"},
		{"TRUSTED_PROXY=x", "TRUSTED_PROXY is not a setting: is TRUSTED_PROXIES meant?", "TRUSTED_PROXIES=10.0.0.1"},
		{"DATADIR=x", "DATADIR is not a setting: is DATA_DIR meant?", "DATA_DIR=x"},
		{"TRUSTED_PROXIES_FILE=x", "TRUSTED_PROXIES_FILE is not a setting: TRUSTED_PROXIES can't be read from a file.", "TRUSTED_PROXIES=10.0.0.1"},
	} {
		t.Run(test.entry, func(t *testing.T) {
			c, err := load([]string{test.entry}, m)
			if err != nil || !slices.Equal(c.Warnings, []string{test.fault}) {
				t.Errorf("in development: %v, warnings %q; want the warning %q", err, c.Warnings, test.fault)
			}
			name, _, _ := strings.Cut(test.right, "=")
			unset := slices.DeleteFunc(inProduction(), func(e string) bool { return strings.HasPrefix(e, name+"=") })
			if _, err := load(append(unset, test.entry), m); err == nil || !strings.Contains(err.Error(), test.fault+" Remove ") {
				t.Errorf("in production: %v, want the mistake %q", err, test.fault)
			}
			c, err = load(append(unset, test.entry, test.right), m)
			if err != nil || !slices.Equal(c.Warnings, []string{test.fault}) {
				t.Errorf("in production with %s: %v, warnings %q; want the warning %q", name, err, c.Warnings, test.fault)
			}
		})
	}
	c, err := load(inProduction(
		"HOME=/root", "HOSTS=z", "host=z", "LOG_LEVELING=x", "PATH=/bin", "KUBERNETES_SERVICE_HOST=10.0.0.1", // somebody else's
		"REDIS_SSL=1", "REDIS_PORT=1", "DATABASE_TEST_URL=x", "NOTESD_PORT=tcp://10.0.0.1:80", "NODE_PATH=x",
		"POSTGRES_PASSWORD=p", "POSTGRES_PASSWORD_FILE=p", "LOG_LEVEL=info", "ADMIN_TOKEN_FILE=", // known
	), m)
	if err != nil || c.Warnings != nil {
		t.Errorf("names of others: %v, warnings %q; want none", err, c.Warnings)
	}
	for environ, want := range map[string][]string{
		"PORT=80":                  {"PORT is not a setting: is BACKEND_PORT meant?"},
		"PORT=80 BACKEND_PORT=80":  nil,
		"PORT=80 BACKEND_PORT=300": nil,
	} {
		c, err := load(inProduction(strings.Fields(environ)...), m) // hosts set PORT: it is never a mistake
		if err != nil || !slices.Equal(c.Warnings, want) {
			t.Errorf("%s: %v, warnings %q, want %q", environ, err, c.Warnings, want)
		}
	}
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0},
		{"abcd", "abdc", 1}, {"ca", "abc", 3},
	} {
		if got := Distance(test.a, test.b); got != test.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

// A setting that is gone is ignored, however it is set, and told of once. Its value, which may hold a password, is not read.
func TestRetiredSetting(t *testing.T) {
	const want = "DATABASE_READ_URL is ignored: lists are no longer read on standbys of PostgreSQL. Remove it: a later release refuses it."
	for _, environ := range [][]string{
		{"DATABASE_READ_URL=postgres://u:hunter2@standby/notes"},
		{"DATABASE_READ_URL=hunter2"},
		{"DATABASE_READ_URL_FILE=/hunter2"},
		{"DATABASE_READ_URL=hunter2", "DATABASE_READ_URL_FILE=/hunter2"},
		{"DATABASE_URL=postgres://u@db/notes", "DATABASE_PASSWORD=x", "DATABASE_READ_URL=postgres://standby/notes"},
	} {
		for name, environ := range map[string][]string{"development": environ, "production": inProduction(environ...)} {
			c, err := load(environ, fourCores(t))
			if err != nil || !slices.Equal(c.Warnings, []string{want}) {
				t.Errorf("in %s, %q: %v, warnings %q; want the warning %q", name, environ, err, c.Warnings, want)
			}
			if slices.ContainsFunc(c.Settings(), func(s Setting) bool { return strings.HasPrefix(s.Name, "DATABASE_READ_URL") }) {
				t.Errorf("in %s, %q: it is shown as in force", name, environ)
			}
		}
	}
	if c, err := load([]string{"DATABASE_READ_URL="}, fourCores(t)); err != nil || c.Warnings != nil {
		t.Errorf("set to nothing: %v, warnings %q; want none", err, c.Warnings)
	}
}

// Front ends of another site are told of: their browsers don't send the session cookie.
func TestOtherSites(t *testing.T) {
	for _, test := range []struct {
		environ []string
		want    string // that the warning begins with; "": there is none
	}{
		{nil, ""},
		{[]string{"CORS_ORIGIN=http://127.0.0.1:3000"}, ""},
		{[]string{"CORS_ORIGIN=http://localhost:3000,http://localhost:5173"}, ""},
		{[]string{"CORS_ORIGIN=http://192.0.2.7:3000", "HOST=all"}, ""}, // reached by that address, perhaps
		{[]string{"CORS_ORIGIN=http://192.0.2.7:3000", "TRUSTED_PROXIES=127.0.0.1"}, ""},
		{[]string{"CORS_ORIGIN=http://192.0.2.7:3000"}, "CORS_ORIGIN: http://192.0.2.7:3000 is another site than this machine's"},
		{[]string{"CORS_ORIGIN=http://localhost:3000,http://127.0.0.1:3000"}, "CORS_ORIGIN: http://localhost:3000 and http://127.0.0.1:3000 are two sites"},
		{inProduction("CORS_ORIGIN=https://app.example.com,https://api.example.com:8443"), ""},
		{inProduction("CORS_ORIGIN=https://a.example.co.uk,https://b.example.co.uk"), ""},
		{inProduction("CORS_ORIGIN=https://a.co.uk,https://b.co.uk"), "CORS_ORIGIN: https://a.co.uk and https://b.co.uk are two sites"},
		{inProduction("CORS_ORIGIN=https://a.github.io,https://b.github.io"), "CORS_ORIGIN: https://a.github.io and https://b.github.io are two sites"},
		{inProduction("CORS_ORIGIN=https://a.example,http://a.example"), "CORS_ORIGIN: https://a.example and http://a.example are two sites"},
	} {
		c, err := load(test.environ, fourCores(t))
		if got := strings.Join(c.Warnings, "\n"); err != nil || (test.want == "") != (got == "") || !strings.HasPrefix(got, test.want) {
			t.Errorf("Load(%q): %v, warnings %q, want %q", test.environ, err, got, test.want)
		}
	}
}

// Settings has a row for every setting, in the table's order, with what is in force and where it comes from.
func TestSettings(t *testing.T) {
	m := fourCores(t)
	m.root = v2(files{"cpu.max": "150000 100000", "memory.max": "67108864"})
	c, err := load([]string{"LOG_LEVEL=debug", "REDIS_URL=redis://:hunter2@cache", "QUEUE_LENGTH=7", "LOG_FORMAT=text", "HOST="}, m)
	if err != nil {
		t.Fatal(err)
	}
	want := []Setting{
		{"APP_ENV", "development", "default"},
		{"NODE_ENV", "none", "default"},
		{"BACKEND_PORT", "3001", "default"},
		{"HOST", "127.0.0.1", "default"},
		{"DATA_DIR", "data", "default"},
		{"DATABASE_URL", "data/notes.db", "derived"},
		{"DATABASE_CHANNEL_URL", "none", "default"},
		{"DATABASE_PASSWORD", "none", "default"},
		{"DATABASE_MAX_CONNS", "10", "derived"},
		{"REDIS_URL", "REDACTED", "environment"},
		{"REDIS_SENTINELS", "none", "default"},
		{"SESSION_SECRET", "kept in data/session-secret", "derived"},
		{"ADMIN_TOKEN", "kept in data/admin-token", "derived"},
		{"REGISTRATION", "open", "default"},
		{"WEB", "true", "default"},
		{"CORS_ORIGIN", "http://localhost:3000", "default"},
		{"ALLOWED_HOSTS", "none", "default"},
		{"TRUSTED_PROXIES", "none", "default"},
		{"RATE_LIMIT_MAX_REQUESTS", "1000", "default"},
		{"RATE_LIMIT_WINDOW_MS", "60000", "default"},
		{"BODY_PARSER_LIMIT", "10mb", "default"},
		{"TRASH_RETENTION_DAYS", "30", "default"},
		{"HISTORY_DAYS", "365", "default"},
		{"SESSIONS_PER_USER", "100", "default"},
		{"QUOTA_NOTES", "0", "default"},
		{"QUOTA_MB", "0", "default"},
		{"CLUSTER_MODE", "true", "default"},
		{"MAX_WORKERS", "2", "cgroup"},
		{"WORKERS_PER_SHARD", "4", "derived"},
		{"QUEUE_LENGTH", "7", "environment"},
		{"QUEUE_TIMEOUT", "1s", "default"},
		{"REQUEST_TIMEOUT", "30s", "default"},
		{"GOMAXPROCS", "4", "default"},
		{"GOMEMLIMIT", "60397977B", "cgroup"},
		{"MAX_OLD_SPACE_SIZE", "none", "default"},
		{"ENABLE_MEMORY_MONITORING", "true", "default"},
		{"MEMORY_MONITOR_INTERVAL", "60s", "default"},
		{"MEMORY_THRESHOLD_MB", "48", "derived"},
		{"CACHE_SIZE_MB", "3", "derived"},
		{"ALERT_WEBHOOK_URL", "none", "default"},
		{"ALERT_WEBHOOK_SECRET", "none", "default"},
		{"SHUTDOWN_DELAY", "0s", "default"},
		{"SHUTDOWN_TIMEOUT", "10s", "default"},
		{"RESTART_THRESHOLD", "5", "default"},
		{"RESTART_WINDOW", "60s", "default"},
		{"LOG_LEVEL", "debug", "environment"},
		{"LOG_FORMAT", "text", "environment"},
		{"ENABLE_PERFORMANCE_LOGGING", "false", "default"},
		{"ENABLE_METRICS_COLLECTION", "true", "default"},
		{"ENABLE_WEB_VITALS_LOGGING", "false", "default"},
	}
	if diff := cmp.Diff(want, c.Settings()); diff != "" {
		t.Errorf("Settings(): -want +got\n%s", diff)
	}
	different := []Setting{
		{"REDIS_URL", "REDACTED", "environment"}, {"QUEUE_LENGTH", "7", "environment"}, {"LOG_LEVEL", "debug", "environment"},
	}
	if diff := cmp.Diff(different, c.Changed()); diff != "" {
		t.Errorf("Changed(): -want +got\n%s", diff)
	}
	c.Settings()[0].Value = "changed"
	if c.Settings()[0].Value == "changed" {
		t.Error("Settings() hands out its own list")
	}
}

// NODE_ENV alone does what APP_ENV does.
func TestNodeEnv(t *testing.T) {
	environ := inProduction()
	a, err := load(environ, fourCores(t))
	if err != nil {
		t.Fatal(err)
	}
	environ[0] = "NODE_ENV=production"
	b, err := load(environ, fourCores(t))
	if err != nil {
		t.Fatal(err)
	}
	sameNetwork := cmpopts.EquateComparable(netip.Prefix{})
	if diff := cmp.Diff(a, b, cmpopts.IgnoreUnexported(Config{}), sameNetwork); diff != "" || !b.Production {
		t.Errorf("APP_ENV (-) and NODE_ENV (+) differ:\n%s", diff)
	}
	if got, want := settingOf(t, b, "APP_ENV"), (Setting{"APP_ENV", "production", "derived"}); got != want {
		t.Errorf("setting %v, want %v", got, want)
	}
}

func settingOf(t *testing.T, c Config, name string) Setting {
	t.Helper()
	i := slices.IndexFunc(c.Settings(), func(s Setting) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("Settings() has no %s", name)
	}
	return c.Settings()[i]
}

// Load reads this machine.
func TestLoadHere(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := Load(nil)
	if err != nil || c.Runtime.Cores < 1 || c.Runtime.Shards != c.Runtime.Cores {
		t.Errorf("Load() = %+v, %v", c.Runtime, err)
	}
}

// Inspect returns what can be read, and every mistake by its setting's name.
func TestSurvey(t *testing.T) {
	c, mistakes := inspect(inProduction("SESSION_SECRET=change-me", "LOG_LEVEL=loud", "MAX_WORKERS=9", "BACKEND_PORT=4000"), fourCores(t))
	var names []string
	for _, m := range mistakes {
		names = append(names, m.Name)
		if !strings.Contains(m.Err.Error(), m.Name) {
			t.Errorf("mistake in %s: %v", m.Name, m.Err)
		}
	}
	if want := []string{"SESSION_SECRET", "LOG_LEVEL"}; !slices.Equal(names, want) {
		t.Errorf("mistakes in %q, want %q", names, want)
	}
	if !c.Production || c.Port != 4000 || c.MaxWorkers != 9 || c.Runtime.Shards != 4 || !c.AdminToken.Strong() ||
		c.AdminToken.Placeholder() || !Secret("change-me").Placeholder() || Secret("change-me").Strong() {
		t.Errorf("survey() = %+v", c)
	}
	if _, mistakes := inspect(nil, fourCores(t)); mistakes != nil {
		t.Errorf("mistakes where nothing is set: %v", mistakes)
	}
}
