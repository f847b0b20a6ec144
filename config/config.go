// Package config turns the environment into typed values.
//
// One table (setting.go) holds the name, the default, the allowed values and the meaning of every
// setting. Nothing is guessed: a value that is not allowed is a mistake, and all mistakes are
// reported at once. Settings that are left open are chosen from the cores and the memory that the
// control groups grant (runtime.go).
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/joho/godotenv"
)

// Config holds every setting, checked.
type Config struct {
	Env        string // "development" or "production"
	Production bool
	Host       string // "": all addresses
	Port       int    // 0: any that is free

	Runtime      Runtime
	MaxWorkers   int // as set; 0: not set
	QueueLength  int // requests that may wait for a worker
	QueueTimeout time.Duration

	RequestTimeout   time.Duration
	ShutdownDelay    time.Duration
	ShutdownTimeout  time.Duration
	RestartWindow    time.Duration
	RestartThreshold int

	MemoryMonitoring      bool
	MemoryMonitorInterval time.Duration
	MemoryThreshold       int64  // bytes of resident memory
	CacheSize             int64  // bytes; 0: nothing is cached
	AlertWebhookURL       Secret // "": no alerts
	AlertWebhookSecret    Secret // "": alerts are not signed

	DataDir        string
	DatabaseURL    Secret   // complete: PostgreSQL with the password, or the SQLite file
	ChannelURL     Secret   // likewise, of the same PostgreSQL; "": DatabaseURL is used
	RedisURL       Secret   // "": no Redis
	RedisSentinels []string // host:port; RedisURL's host is then the name of a master
	SessionSecrets []Secret // empty only in development: see the func SessionSecret

	RegistrationOpen bool
	Web              bool     // the web app is served
	CORSOrigins      []string // in the form that browsers send
	AllowedHosts     []string // in lower case
	TrustedProxies   []netip.Prefix
	RateLimitMax     int // 0: no limit
	RateLimitWindow  time.Duration
	BodyLimit        int64 // bytes
	TrashRetention   time.Duration
	History          time.Duration
	SessionsPerUser  int    // when a user has more, the oldest is ended
	QuotaNotes       int    // of a user without a quota of its own; 0: no limit
	QuotaMB          int    // likewise
	AdminToken       Secret // "" only in development: the func AdminToken keeps one in DataDir

	LogLevel           slog.Level
	LogFormat          string // "json" or "text"
	PerformanceLogging bool
	MetricsCollection  bool
	WebVitalsLogging   bool

	// Warnings are logged at the start. They do not keep the server from starting.
	Warnings []string

	inForce []Setting
	changed []Setting // the settings of inForce whose value is set and is not the default
}

// Load reads the settings from environ, a list of NAME=value like os.Environ's. Unless environ asks
// for production, Load also reads the file .env in the working directory; environ takes precedence.
// An empty value counts as unset. The error joins all mistakes. Each mistake names the variable,
// its value and what is allowed.
func Load(environ []string) (Config, error) { return load(environ, thisMachine()) }

// load is Load on the machine m.
func load(environ []string, m machine) (Config, error) {
	c, mistakes := inspect(environ, m)
	if len(mistakes) == 0 {
		return c, nil
	}
	var errs []error
	for _, mistake := range mistakes {
		errs = append(errs, mistake.Err)
	}
	return Config{}, errors.Join(errs...)
}

// A Mistake is a setting whose value can't be used.
type Mistake struct {
	Name string // the name of the variable
	Err  error  // names the variable, too, and says what is allowed
}

// Inspect is Load for commands that report instead of serving. It returns a Config even if there
// are mistakes. A setting with a mistake then has an arbitrary value, and so has everything that is
// chosen from it.
func Inspect(environ []string) (Config, []Mistake) { return inspect(environ, thisMachine()) }

// inspect is Inspect on the machine m.
func inspect(environ []string, m machine) (Config, []Mistake) {
	l := &loader{machine: m, shown: map[string]Setting{}, bad: map[string]bool{}}
	l.collect(environ)
	table := l.table()
	for _, s := range table {
		l.read(s)
	}
	l.chooseFiles()
	l.chooseDatabase()
	l.chooseRedis()
	l.chooseCores()
	l.chooseWorkers()
	l.chooseMemory()
	l.checkSecrets()
	l.checkWebhook()
	l.checkOrigins()
	l.checkNames(table)
	for _, s := range table {
		if set, ok := l.shown[s.name]; ok {
			l.inForce = append(l.inForce, set)
			if v, given := l.values[s.name]; set.Source == fromFile || given && v.text != s.defaultIn(l.Production) {
				l.changed = append(l.changed, set)
			}
		}
	}
	return l.Config, l.mistakes
}

// Settings returns every setting in force, with secrets redacted, in the order of the
// documentation.
func (c Config) Settings() []Setting { return slices.Clone(c.inForce) }

// Changed returns the settings that differ from their defaults, with secrets redacted, in the same
// order.
func (c Config) Changed() []Setting { return slices.Clone(c.changed) }

// A loader is a Config while it is loaded. It also holds the values that were found and the values
// that are requested but not chosen yet.
type loader struct {
	Config
	machine machine

	values   map[string]value   // the values that are set, by name
	shown    map[string]Setting // the settings in force, by name
	mistakes []Mistake
	bad      map[string]bool // the settings with a mistake

	databasePassword Secret
	cluster          bool
	// These fields hold the values as set. They are 0 if unset.
	maxWorkers, workers, maxConns, procs, queueLength int
	heapMB, thresholdMB, cacheMB                      int
	goMemLimit                                        int64 // noLimit when off
}

// A value is the text of a variable and the source that it comes from.
type value struct{ text, source string }

const (
	fromDefault     = "default"
	fromEnvironment = "environment"
	fromDotEnv      = ".env"
	fromFile        = "file"
	fromCgroup      = "cgroup"
	derived         = "derived"
)

// unset is shown as the value of a setting that is not set and has no default.
const unset = "none"

// collect gathers the values that are set, and decides whether this is production.
func (l *loader) collect(environ []string) {
	l.values = map[string]value{}
	for _, entry := range environ {
		if name, text, _ := strings.Cut(entry, "="); text != "" {
			l.values[name] = value{text, fromEnvironment}
		}
	}
	if !l.saysProduction() {
		l.collectDotEnv()
	}
	app, node := l.values["APP_ENV"].text, l.values["NODE_ENV"].text
	if app != "" && node != "" && app != node {
		l.mistake("NODE_ENV", "NODE_ENV=%q contradicts APP_ENV=%q: set one of them, or both to the same", node, app)
	}
	l.Production = l.saysProduction()
}

// saysProduction reports whether the values collected so far ask for production.
func (l *loader) saysProduction() bool {
	return l.values["APP_ENV"].text == "production" || l.values["NODE_ENV"].text == "production"
}

// collectDotEnv adds the values that the file .env sets and the environment does not. It does not
// pass on the parser's errors, because they quote the file with its secrets.
func (l *loader) collectDotEnv() {
	f, err := os.Open(filepath.Join(l.machine.dir, ".env"))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		l.mistake(".env", "%w", err)
		return
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		l.mistake(".env", "%w", err)
		return
	}
	// The parser replaces $NAME by a variable's value, which would shorten a secret without a
	// warning. Each $ is hidden from it.
	const dollar = "\uE000" // of the private use area
	file, err := godotenv.UnmarshalBytes(bytes.ReplaceAll(text, []byte("$"), []byte(dollar)))
	if err != nil {
		l.mistake(".env", "%s is not a list of lines NAME=value and # comments", f.Name())
		return
	}
	for _, name := range slices.Sorted(maps.Keys(file)) {
		text := strings.ReplaceAll(file[name], dollar, "$")
		if _, set := l.values[name]; !set && text != "" {
			l.values[name] = value{text, fromDotEnv}
		}
		for other := range file {
			if other != "" && (strings.Contains(text, "${"+other+"}") || strings.Contains(text, "$"+other)) {
				l.warn("%s in .env names $%s: notesd puts no other setting in its place", name, other)
			}
		}
	}
}

// mistake records what is wrong with a setting.
func (l *loader) mistake(name, format string, args ...any) {
	l.bad[name] = true
	l.mistakes = append(l.mistakes, Mistake{name, fmt.Errorf(format, args...)})
}

// warn records a warning.
func (l *loader) warn(format string, args ...any) {
	l.Warnings = append(l.Warnings, fmt.Sprintf(format, args...))
}

// valid reports whether none of the named settings has a mistake, so that settings which depend on
// them can be checked.
func (l *loader) valid(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return l.bad[name] })
}

// read reads one setting into its field of the Config.
func (l *loader) read(s setting) {
	if s.parser.read == nil {
		return
	}
	v, given := l.find(s)
	if !given {
		v = value{s.defaultIn(l.Production), fromDefault}
	}
	shown := v.text
	switch {
	case l.bad[s.name]:
	case v.text == "":
		shown = unset
		if s.required && l.Production {
			l.mistake(s.name, "%s is not set: production needs %s%s", s.name, s.allowed, s.hint())
		}
	default:
		quoted := fmt.Sprintf("%.80q", v.text)
		if s.secret {
			shown, quoted = redacted, redacted
		}
		if !s.parser.read(v.text) {
			l.mistake(s.name, "%s=%s is not %s%s", s.name, quoted, s.allowed, s.hint())
		}
	}
	l.shown[s.name] = Setting{s.name, shown, v.source}
}

// find returns the value that a setting is set to, and whether it is set. A value is set by the
// setting's own name or, for a secret, in the file that NAME_FILE names.
func (l *loader) find(s setting) (v value, given bool) {
	v, given = l.values[s.name]
	if !s.secret {
		return v, given
	}
	file, inFile := l.values[s.name+"_FILE"]
	if !inFile {
		return v, given
	}
	if given {
		l.mistake(s.name, "%s and %[1]s_FILE=%q are both set: set one of them", s.name, file.text)
		return value{}, false
	}
	text, err := readSecretFile(file.text)
	if err != nil {
		l.mistake(s.name, "%s_FILE=%q is not a file with the secret: %w", s.name, file.text, err)
		return value{}, false
	}
	return value{text, fromFile}, true
}

// set shows v as the setting's value in force, and shows source as its source if the setting is
// not set.
func (l *loader) set(name string, v any, source string) {
	s := l.shown[name]
	if s.Source == fromDefault {
		s.Source = source
	}
	s.Value = fmt.Sprint(v)
	l.shown[name] = s
}

// chooseFiles chooses the paths in the data directory for files whose path is not set.
func (l *loader) chooseFiles() {
	if l.DatabaseURL == "" {
		file := filepath.Join(l.DataDir, "notes.db")
		l.DatabaseURL = Secret(file)
		l.set("DATABASE_URL", file, derived)
	}
	if len(l.SessionSecrets) == 0 {
		l.set("SESSION_SECRET", "kept in "+filepath.Join(l.DataDir, sessionSecretFile), derived)
	}
	if l.AdminToken == "" && !l.Production && l.valid("ADMIN_TOKEN") {
		l.set("ADMIN_TOKEN", "kept in "+AdminTokenFile(l.DataDir), derived)
	}
}

// chooseRedis refuses Sentinels if there is no name of a master to ask them for.
func (l *loader) chooseRedis() {
	if len(l.RedisSentinels) > 0 && l.RedisURL == "" && l.valid("REDIS_URL") {
		l.mistake("REDIS_SENTINELS", "REDIS_SENTINELS needs the master's name in REDIS_URL: redis://:password@NAME/0")
	}
}

// chooseDatabase completes the PostgreSQL URLs with DATABASE_PASSWORD, which is for no other URL.
func (l *loader) chooseDatabase() {
	type named struct {
		name  string
		value *Secret
	}
	others := []named{{"DATABASE_CHANNEL_URL", &l.ChannelURL}}
	if !l.valid("DATABASE_URL", "DATABASE_CHANNEL_URL", "DATABASE_PASSWORD") {
		return
	}
	if !isPostgres(l.DatabaseURL.Reveal()) {
		for _, s := range append(others, named{"DATABASE_PASSWORD", &l.databasePassword}) {
			if *s.value != "" {
				l.mistake(s.name, "%s=%s is only for a postgres:// DATABASE_URL", s.name, redacted)
			}
		}
		return
	}
	l.complete("DATABASE_URL", &l.DatabaseURL, l.databasePassword.Reveal())
	for _, s := range others {
		added := l.databasePassword.Reveal()
		if u, _ := url.Parse(s.value.Reveal()); password(u) != "" {
			added = "" // the URL may be for another user
		}
		if *s.value != "" {
			l.complete(s.name, s.value, added)
		}
	}
}

// checkSecrets refuses, in production, a secret that is set in two places: an attacker who learns
// it from one of them knows the other, too.
func (l *loader) checkSecrets() {
	if !l.Production {
		return
	}
	passwordOf := func(s Secret) Secret {
		u, err := url.Parse(s.Reveal())
		if err != nil {
			return ""
		}
		return Secret(password(u))
	}
	owners := map[Secret]string{}
	judge := func(name string, s Secret) {
		if len(s) < minSecret || s.Placeholder() {
			return // another check reports it
		}
		if other, taken := owners[s]; taken && other != name {
			l.mistake(name, "%s=%s is the same as the secret in %s: each needs one of its own; make one: %s", name,
				redacted, other, secretCommand)
		}
		owners[s] = name
	}
	for _, s := range l.SessionSecrets {
		judge("SESSION_SECRET", s)
	}
	judge("ADMIN_TOKEN", l.AdminToken)
	judge("ALERT_WEBHOOK_SECRET", l.AlertWebhookSecret)
	judge("DATABASE_URL", passwordOf(l.DatabaseURL))
	judge("REDIS_URL", passwordOf(l.RedisURL))
}

// checkWebhook warns of unsigned alerts, because a receiver cannot tell them from forged ones.
func (l *loader) checkWebhook() {
	if l.AlertWebhookURL != "" && l.AlertWebhookSecret == "" && l.valid("ALERT_WEBHOOK_URL", "ALERT_WEBHOOK_SECRET") {
		l.warn("ALERT_WEBHOOK_URL is set without ALERT_WEBHOOK_SECRET: alerts are not signed (docs/OPERATIONS.md)")
	}
}

// complete puts DATABASE_PASSWORD, if one is added, into a PostgreSQL URL. It refuses a placeholder
// in production.
func (l *loader) complete(name string, postgres *Secret, added string) {
	from := name
	if added != "" {
		from = "DATABASE_PASSWORD"
	}
	u, _ := url.Parse(postgres.Reveal()) // the table has checked the URL
	switch {
	case added == "":
	case u.User.Username() == "":
		l.mistake(from, "%s=%s needs the user's name in %s: postgres://user@host/name", from, redacted, name)
		return
	case password(u) != "" && password(u) != added:
		l.mistake(from, "%s=%s differs from the password in %s: set one of them", from, redacted, name)
		return
	default:
		u.User = url.UserPassword(u.User.Username(), added)
		*postgres = Secret(u.String())
	}
	if l.Production && placeholder(password(u)) {
		l.mistake(from, "%s=%s holds a placeholder: production needs a password of your own", from, redacted)
	}
}

// checkNames finds variables that look like a misspelled setting, which would be ignored without a
// warning. In production such a variable is a mistake, unless the setting that is meant is set,
// too.
func (l *loader) checkNames(table []setting) {
	for _, name := range slices.Sorted(maps.Keys(l.values)) {
		fault, meant := misnamed(name, table)
		_, set := l.values[meant]
		switch {
		case fault == "":
		case l.Production && !set:
			l.mistake(name, "%s Remove %s, or set %s as well", fault, name, meant)
		default:
			l.warn("%s", fault)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(retired)) {
		_, set := l.values[name]
		if _, inFile := l.values[name+"_FILE"]; set || inFile {
			l.warn("%s is ignored: %s. Remove it: a later release refuses it.", name, retired[name])
		}
	}
	if _, set := l.values["BACKEND_PORT"]; !set && l.values["PORT"].text != "" {
		// This is never a mistake, because hosting services set PORT unasked.
		l.warn("PORT is not a setting: is BACKEND_PORT meant?")
	}
}
