package config

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// A setting is one row of the table from which everything about settings is made: parsing and
// checking, the list of settings in force, the templates in env/ and the table of
// docs/CONFIGURATION.md (go generate).
type setting struct {
	name         string
	defaultValue string // the value if the variable is not set
	production   string // the value in production instead, where that differs
	derived      string // a description of the default if other settings or the machine decide it
	parser              // without a parser, the variable is for compose alone
	secret       bool   // never shown; it can also be read from the file that NAME_FILE names
	required     bool   // must be set in production
	sample       string // the value in env/production.env; of a secret, the value of NAME_FILE
	command      string // generates a good value
	meaning      string
}

// secretCommand is the command that generates a secret.
const secretCommand = "openssl rand -hex 32"

// table returns the settings in the order in which they are documented. Their parsers store into d.
func (l *loader) table() []setting {
	const (
		second = time.Second
		day    = 24 * time.Hour
		many   = 1_000_000
	)
	return []setting{{
		name: "APP_ENV", defaultValue: "development",
		parser:  oneOf(func(s string) { l.Env = s }, "development", "production"),
		meaning: "production refuses secrets that are weak and settings that must be chosen but are not",
	}, {
		name:    "NODE_ENV",
		parser:  oneOf(func(s string) { l.Env = s; l.set("APP_ENV", s, derived) }, "development", "production"),
		meaning: "another name for APP_ENV; set both and they must agree",
	}, {
		name: "BACKEND_PORT", defaultValue: "3001",
		parser:  integer(&l.Port, 0, math.MaxUint16),
		meaning: "port to listen on; 0 takes any that is free",
	}, {
		name: "HOST", defaultValue: "127.0.0.1", production: "all",
		parser:  host(&l.Host),
		meaning: "address to listen on",
	}, {
		name: "DATA_DIR", defaultValue: "data",
		parser: parser{"a directory", func(s string) bool { l.DataDir = s; return true }},
		meaning: "directory for what is kept in files: the SQLite database, the secrets made in " +
			"development, incident files",
	}, {
		name: "DATABASE_URL", derived: "notes.db in DATA_DIR", secret: true,
		parser:  database(&l.DatabaseURL),
		meaning: "the database: PostgreSQL, or SQLite in a file",
	}, {
		name: "DATABASE_CHANNEL_URL", derived: "DATABASE_URL", secret: true,
		parser: postgresURL(&l.ChannelURL),
		meaning: "the same PostgreSQL, where DATABASE_URL leads to a pooler: replicas tell each other over " +
			"it what they change",
	}, {
		name: "DATABASE_PASSWORD", secret: true,
		parser:  secret(&l.databasePassword),
		meaning: "password of the PostgreSQL user in the URLs above, any characters; instead of one in them",
	}, {
		name: "DATABASE_MAX_CONNS", derived: "workers and 2",
		parser:  integer(&l.maxConns, reserve+1, 10_000),
		meaning: "database connections at most, on SQLite those that read; a worker has one each",
	}, {
		name: "REDIS_URL", secret: true,
		parser:  redis(&l.RedisURL, &l.Production),
		meaning: "Redis for sessions and limits; without it the database and the process hold them",
	}, {
		name:   "REDIS_SENTINELS",
		parser: addresses(&l.RedisSentinels),
		meaning: "Redis Sentinels, asked for the master that REDIS_URL names in place of a host: " +
			"redis://:password@NAME/0",
	}, {
		name: "SESSION_SECRET", derived: "made once and kept in DATA_DIR", secret: true, required: true,
		parser: secrets(&l.SessionSecrets, &l.Production), sample: "secrets/session_secret", command: secretCommand,
		meaning: "key for session tokens and cursors; of a comma list the first signs, all verify",
	}, {
		name: "ADMIN_TOKEN", derived: "made once and kept in DATA_DIR", secret: true, required: true,
		parser: token(&l.AdminToken, &l.Production), sample: "secrets/admin_token", command: secretCommand,
		meaning: "bearer token of the administrators, for metrics, /api/runtime and the status page",
	}, {
		name: "REGISTRATION", defaultValue: "open", sample: "closed",
		parser:  oneOf(func(s string) { l.RegistrationOpen = s == "open" }, "open", "closed"),
		meaning: "who may make an account: open, anybody; closed, only `notesd user add`",
	}, {
		name: "WEB", defaultValue: "true",
		parser:  boolean(&l.Web),
		meaning: "serve the web app at /; false: front ends and programs alone use this server",
	}, {
		name: "CORS_ORIGIN", defaultValue: "http://localhost:3000", required: true,
		parser: origins(&l.CORSOrigins), sample: "https://localhost",
		meaning: "origins of the front ends that may call with a session, comma-separated",
	}, {
		name:   "ALLOWED_HOSTS",
		parser: hosts(&l.AllowedHosts),
		meaning: "names of this server besides CORS_ORIGIN's, IP addresses, localhost, .local and names without a " +
			"dot; others get 421, in production if this is set",
	}, {
		name:    "TRUSTED_PROXIES",
		parser:  proxies(&l.TrustedProxies),
		meaning: "networks of the proxies whose forwarded headers are believed (docs/PROXIES.md)",
	}, {
		name: "RATE_LIMIT_MAX_REQUESTS", defaultValue: "1000",
		parser:  integer(&l.RateLimitMax, 0, 1_000_000_000),
		meaning: "requests in RATE_LIMIT_WINDOW_MS for a person, or an address that is not signed in; 0: any",
	}, {
		name: "RATE_LIMIT_WINDOW_MS", defaultValue: "60000",
		parser:  times(&l.RateLimitWindow, time.Millisecond, 1, int(7*day/time.Millisecond)),
		meaning: "the time for RATE_LIMIT_MAX_REQUESTS, in milliseconds",
	}, {
		name: "BODY_PARSER_LIMIT", defaultValue: "10mb",
		parser:  bodyLimit(&l.BodyLimit),
		meaning: "size of a request's body at most",
	}, {
		name: "TRASH_RETENTION_DAYS", defaultValue: "30",
		parser:  times(&l.TrashRetention, day, 1, 36_500),
		meaning: "days after which a note in the trash is deleted for good",
	}, {
		name: "HISTORY_DAYS", defaultValue: "365",
		parser: times(&l.History, day, 0, 36_500),
		meaning: "days for which older versions of a note can be brought back: at first all, then one an hour, " +
			"then one a day; 0: a day, for merging",
	}, {
		name: "SESSIONS_PER_USER", defaultValue: "100",
		parser:  integer(&l.SessionsPerUser, 1, 10_000),
		meaning: "sessions that a person may have; a new one ends the oldest",
	}, {
		name: "QUOTA_NOTES", defaultValue: "0",
		parser:  integer(&l.QuotaNotes, 0, 1_000_000_000),
		meaning: "notes that a person may have, unless `notesd user quota` says otherwise; 0: any number",
	}, {
		name: "QUOTA_MB", defaultValue: "0",
		parser: integer(&l.QuotaMB, 0, 1_000_000_000),
		meaning: "megabytes that a person's notes may count for: twice their text, 1 KB a note and 64 bytes a " +
			"tag; 0: any number",
	}, {
		name: "CLUSTER_MODE", defaultValue: "true",
		parser:  boolean(&l.cluster),
		meaning: "use the cores: MAX_WORKERS shards; false: one shard on one core",
	}, {
		name: "MAX_WORKERS", derived: "the cores in use",
		parser:  integer(&l.maxWorkers, 1, math.MaxInt32),
		meaning: "shards of the pool, at most the cores in use; when set, GOMAXPROCS follows it",
	}, {
		name: "WORKERS_PER_SHARD", derived: "8 on PostgreSQL, 4 on SQLite, at most 64 in all",
		parser:  integer(&l.workers, 1, maxWorkersPerShard),
		meaning: "requests that one shard handles at once",
	}, {
		name: "QUEUE_LENGTH", derived: "32 a worker",
		parser:  integer(&l.queueLength, 0, many),
		meaning: "requests that may wait for a worker; 0: none",
	}, {
		name: "QUEUE_TIMEOUT", defaultValue: "1s",
		parser:  duration(&l.QueueTimeout, time.Millisecond, time.Minute),
		meaning: "time a request waits for a worker at most",
	}, {
		name: "REQUEST_TIMEOUT", defaultValue: "30s",
		parser:  duration(&l.RequestTimeout, time.Millisecond, time.Hour),
		meaning: "time a request's work may take, database included",
	}, {
		name: "GOMAXPROCS", derived: "chosen by Go, which follows the CPU quota",
		parser:  integer(&l.procs, 1, 1024),
		meaning: "threads that run Go code at once",
	}, {
		name: "GOMEMLIMIT", derived: "90 % of the container's limit, else off",
		parser:  memLimit(&l.goMemLimit),
		meaning: "soft limit of the memory that Go manages",
	}, {
		name:    "MAX_OLD_SPACE_SIZE",
		parser:  integer(&l.heapMB, minMemory>>20, 16<<20),
		meaning: "the same as GOMEMLIMIT, which wins, in MB as the old server had it",
	}, {
		name: "ENABLE_MEMORY_MONITORING", defaultValue: "true",
		parser:  boolean(&l.MemoryMonitoring),
		meaning: "log memory every MEMORY_MONITOR_INTERVAL and watch MEMORY_THRESHOLD_MB",
	}, {
		name: "MEMORY_MONITOR_INTERVAL", defaultValue: "60s",
		parser:  durationOrMillis(&l.MemoryMonitorInterval, 10*time.Millisecond, day),
		meaning: "time between two looks at memory",
	}, {
		name: "MEMORY_THRESHOLD_MB", derived: "512",
		parser:  integer(&l.thresholdMB, 1, 16<<20),
		meaning: "resident memory that raises an alert, in MB; at most 85 % of the memory limit",
	}, {
		name: "CACHE_SIZE_MB", derived: "a sixteenth of the memory limit; 12 without one",
		parser:  integer(&l.cacheMB, 0, 16<<20),
		meaning: "memory for copies of sessions, notes and lists, in MB; 0 keeps none",
	}, {
		name: "ALERT_WEBHOOK_URL", secret: true,
		parser:  webhook(&l.AlertWebhookURL),
		meaning: "where alerts are sent as JSON",
	}, {
		name: "ALERT_WEBHOOK_SECRET", secret: true,
		parser: token(&l.AlertWebhookSecret, &l.Production), command: secretCommand,
		meaning: "key that signs alerts (docs/OPERATIONS.md); without it they are not signed",
	}, {
		name: "SHUTDOWN_DELAY", defaultValue: "0s", production: "5s",
		parser:  duration(&l.ShutdownDelay, 0, 10*time.Minute),
		meaning: "time between turning unready and closing, for load balancers to notice",
	}, {
		name: "SHUTDOWN_TIMEOUT", defaultValue: "10s",
		parser:  duration(&l.ShutdownTimeout, time.Millisecond, time.Hour),
		meaning: "time that running requests get to finish; stop_grace_period must be longer than both together",
	}, {
		name: "RESTART_THRESHOLD", defaultValue: "5",
		parser:  integer(&l.RestartThreshold, 1, many),
		meaning: "panics of one route in RESTART_WINDOW before it is quarantined",
	}, {
		name: "RESTART_WINDOW", defaultValue: "60s",
		parser:  duration(&l.RestartWindow, second, day),
		meaning: "the time for RESTART_THRESHOLD",
	}, {
		name: "LOG_LEVEL", defaultValue: "info",
		parser:  oneOf(func(s string) { _ = l.LogLevel.UnmarshalText([]byte(s)) }, "debug", "info", "warn", "error"),
		meaning: "least level that is logged",
	}, {
		name: "LOG_FORMAT", defaultValue: "text", production: "json",
		parser:  oneOf(func(s string) { l.LogFormat = s }, "json", "text"),
		meaning: "form of a log line",
	}, {
		name: "ENABLE_PERFORMANCE_LOGGING", defaultValue: "false",
		parser:  boolean(&l.PerformanceLogging),
		meaning: "log how long every request took; those over 1 s are logged all the same",
	}, {
		name: "ENABLE_METRICS_COLLECTION", defaultValue: "true",
		parser:  boolean(&l.MetricsCollection),
		meaning: "count requests for /api/metrics and /metrics",
	}, {
		name: "ENABLE_WEB_VITALS_LOGGING", defaultValue: "false",
		parser:  boolean(&l.WebVitalsLogging),
		meaning: "log the web vitals that front ends report",
	}, {
		name: "SECRETS_DIR", defaultValue: "./secrets",
		meaning: "for compose.prod.yaml: directory of the files with its secrets, which deploy/secrets makes",
	}, {
		name: "SITE_ADDRESS", sample: "localhost",
		meaning: "for compose.prod.yaml: name that people reach the server under; Caddy gets the certificate for it",
	}, {
		name: "NOTESD_CPUS", defaultValue: "2",
		meaning: "for both compose files: cores that the container may use",
	}, {
		name: "NOTESD_MEMORY", defaultValue: "512M",
		meaning: "for both compose files: memory that the container may use",
	}}
}

// defaultIn returns the value of a setting that is not set.
func (s setting) defaultIn(production bool) string {
	switch {
	case production && s.required:
		return ""
	case production && s.production != "":
		return s.production
	}
	return s.defaultValue
}

// hint says how to get a good value.
func (s setting) hint() string {
	if s.command == "" {
		return ""
	}
	return "; make one: " + s.command
}

// A Setting is a setting in force. The value of a secret is REDACTED. The value is "none" if the
// setting is not set and has no default.
type Setting struct {
	Name, Value string
	Source      string // default, environment, .env, file (by NAME_FILE), cgroup, or derived from other settings
}

// retired lists the settings that are ignored with a warning, and the reasons. A later release
// refuses them.
var retired = map[string]string{
	"DATABASE_READ_URL": "lists are no longer read on standbys of PostgreSQL",
}

// misnamed returns what is wrong with the name of a variable that is probably meant as a setting,
// and the name of that setting. The fault is empty for a setting and for a variable of another
// program.
func misnamed(name string, table []setting) (fault, meant string) {
	base := strings.TrimSuffix(name, "_FILE")
	for _, s := range table {
		switch {
		case s.name != base:
		case s.name == name, s.secret, s.parser.read == nil:
			return "", ""
		default:
			return fmt.Sprintf("%s is not a setting: %s can't be read from a file.", name, s.name), s.name
		}
	}
	for _, s := range table {
		if near(base, s.name) {
			return fmt.Sprintf("%s is not a setting: is %s meant?", name, s.name), s.name
		}
	}
	return "", ""
}

// near reports whether name is probably a misspelling of the setting known. The shorter a name is,
// the closer it must be: HOST is not far from HOME.
func near(name, known string) bool {
	allowed := min(len(known)/5, 2)
	name = singular(strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	known = singular(known)
	if longer := len(name) - len(known); longer > allowed || -longer > allowed {
		return false // a start compares each variable with each setting
	}
	return allowed > 0 && Distance(name, known) <= allowed
}

// singular returns a name in capitals without the ending of a plural.
func singular(name string) string {
	if stem, ok := strings.CutSuffix(name, "IES"); ok {
		return stem + "Y"
	}
	return strings.TrimSuffix(name, "S")
}

// Distance returns how many letters have to be inserted, deleted, replaced or swapped with their
// neighbour to turn a into b (optimal string alignment).
func Distance(a, b string) int {
	var before []int // the row before the previous one
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			row[j+1] = min(last[j+1], row[j]) + 1
			if a[i] == b[j] {
				row[j+1] = min(row[j+1], last[j])
			} else {
				row[j+1] = min(row[j+1], last[j]+1)
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
