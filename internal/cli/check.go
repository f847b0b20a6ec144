package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"notesd/config"
	"notesd/internal/check"
	"notesd/internal/redis"
	"notesd/server/auth"
	"notesd/store/inspect"
)

// errFindings is the error of a check that found something. The report says what.
var errFindings = &exitError{status: statusFindings, err: errors.New("something is to be mended"), silent: true}

// checkOptions are the flags of notesd check.
type checkOptions struct {
	json, strict bool
	url, compose string
	replicas     int
	measure      time.Duration
}

// parseCheck reads the flags.
func (p Process) parseCheck(args []string) (o checkOptions, err error) {
	flags := p.newFlags("notesd check\nJudges this set-up and says what to set. Exits with 3 if something must be.")
	flags.BoolVar(&o.json, "json", false, "write JSON")
	flags.BoolVar(&o.strict, "strict", false, "exit with 3 for warnings and what is not known, too")
	flags.StringVar(&o.url, "url", "", "`address` of the running server (default: the one that the settings say)")
	flags.StringVar(&o.compose, "compose", "",
		"compose `file`, - for standard input (default: compose.prod.yaml, in development compose.yaml)")
	flags.IntVar(&o.replicas, "replicas", 1, "servers that share the database")
	flags.DurationVar(&o.measure, "measure", time.Second, "how long to look at the running server")
	if err := flags.parseNone(args); err != nil {
		return o, err
	}
	if o.replicas < 1 {
		return o, fmt.Errorf("check %s: %w", strings.Join(args, " "), errUsage)
	}
	return o, nil
}

// Check judges this installation and prints what to change.
func Check(ctx context.Context, p Process, args []string) error {
	o, err := p.parseCheck(args)
	if err != nil {
		return err
	}
	facts := check.Gather(ctx, p.checkConfig(o))
	if o.compose != "" && facts.Compose.Err != "" {
		return fmt.Errorf("-compose %s: %s", o.compose, facts.Compose.Err)
	}
	report := check.Evaluate(facts)
	if o.json {
		err = report.JSON(p.Out)
	} else {
		err = report.Table(p.Out, p.onTerminal())
	}
	if err != nil {
		return err
	}
	if !report.Verdict.Passes(o.strict) {
		return errFindings
	}
	return nil
}

// checkConfig returns the Config of a check. It looks at all that the settings name, unless they
// have a mistake.
func (p Process) checkConfig(o checkOptions) check.Config {
	cfg, mistakes := config.Inspect(p.Environ)
	c := check.Config{
		Version:     p.version(),
		Settings:    checkSettings(cfg, mistakes),
		Replicas:    o.replicas,
		AdminToken:  cmp.Or(cfg.AdminToken, config.KeptAdminToken(cfg.DataDir)).Reveal(),
		Server:      strings.TrimSuffix(o.url, "/"),
		ServerGiven: o.url != "",
		Measure:     o.measure,
		Dir:         ".",
		Compose:     o.compose,
		In:          p.In,
		Environ:     p.Environ,
		Placeholder: func(s string) bool { return config.Secret(s).Placeholder() },
	}
	if o.url != "" {
		if strings.HasPrefix(o.url, "https://") { // otherwise browsers may use another address
			c.Settings.OtherSites = slices.DeleteFunc(slices.Clone(cfg.CORSOrigins), func(origin string) bool {
				return config.Site(origin) == config.Site(o.url)
			})
		}
	} else {
		c.Server = "http://" + net.JoinHostPort(reachable(cfg.Host), strconv.Itoa(cfg.Port))
	}
	if !isURL(cfg.ChannelURL) { // an error would show a part of a broken password
		cfg.ChannelURL = ""
	}
	if validSettings(mistakes, "DATABASE_URL", "DATABASE_PASSWORD") || isURL(cfg.DatabaseURL) {
		c.Database = func(ctx context.Context) (check.Database, error) { return examine(ctx, cfg) }
	}
	if isURL(cfg.RedisURL) {
		c.RedisURL = redisOf(cfg)
		c.RedisWrites = func(ctx context.Context) error { return redisWrites(ctx, c.RedisURL) }
	}
	return c
}

// redisOf returns the URL of Redis. With Sentinels, it is the URL of the master that they know.
func redisOf(cfg config.Config) string {
	u, err := url.Parse(cfg.RedisURL.Reveal())
	if err != nil || len(cfg.RedisSentinels) == 0 {
		return cfg.RedisURL.Reveal()
	}
	if address, err := redis.FindMaster(context.Background(), u.Hostname(), cfg.RedisSentinels); err == nil {
		u.Host = address
	}
	return u.String()
}

// redisWrites returns nil if the Redis at a URL accepts the writes of the server.
func redisWrites(ctx context.Context, url string) (err error) {
	rdb, err := redis.Open(url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rdb.Close()) }()
	return rdb.Writable(ctx)
}

// validSettings reports whether none of the settings has a mistake.
func validSettings(mistakes []config.Mistake, names ...string) bool {
	return !slices.ContainsFunc(mistakes, func(m config.Mistake) bool { return slices.Contains(names, m.Name) })
}

// isURL reports whether the URL in a setting is usable, even if its password is a placeholder.
func isURL(s config.Secret) bool {
	u, err := url.Parse(s.Reveal())
	return err == nil && u.Host != "" && !config.BrokenPassword(s.Reveal())
}

// examine translates the result of inspect.Inspect for package check.
func examine(ctx context.Context, cfg config.Config) (check.Database, error) {
	x, err := inspect.Inspect(ctx, cfg.DatabaseURL.Reveal(), cfg.ChannelURL.Reveal())
	db := check.Database{
		Engine: x.Engine, Version: x.Version, Missing: x.Missing, Schema: x.Schema, Newest: x.Newest,
		Latency: x.Latency, Skew: x.ClockSkew,
		MaxConnections: x.MaxConnections, Reserved: x.Reserved, ConnLimit: x.ConnLimit,
		OthersConnected: x.OthersConnected,
		SharedBuffers:   x.SharedBuffers, EffectiveCache: x.EffectiveCache, WorkMem: x.WorkMem,
		MaintenanceMem: x.MaintenanceWorkMem,
		Fsync:          x.Fsync, FullPageWrites: x.FullPageWrites, SynchronousCommit: x.SynchronousCommit,
		Peer: x.Peer, Encrypted: x.Encrypted, Verified: x.Verified, Heard: x.NotifyWorks, JournalMode: x.JournalMode,
		NoteBytes: x.NoteBytes, HistoryBytes: x.HistoryBytes,
	}
	if x.Misfit != nil {
		db.Misfit = x.Misfit.Error()
	}
	db.OlderTOTP, db.LostTOTP = countTOTP(x.TOTPKeys, cfg.SessionSecrets)
	return db, err
}

// countTOTP counts the secrets of one-time codes that the first of the server's secrets does not
// encrypt: those of another one (older), and those of none (lost). keys counts them by the ids of
// keys. Without secrets both counts are 0.
func countTOTP(keys map[string]int64, secrets []config.Secret) (older, lost int64) {
	if len(secrets) == 0 {
		return 0, 0
	}
	ids := make([]string, len(secrets))
	for i, secret := range secrets {
		ids[i] = auth.TOTPKeyID(secret.Reveal())
	}
	for id, n := range keys {
		switch slices.Index(ids, id) {
		case 0:
		case -1:
			lost += n
		default:
			older += n
		}
	}
	return older, lost
}

// checkSettings translates the settings for package check. The result holds no secret.
func checkSettings(cfg config.Config, mistakes []config.Mistake) check.Settings {
	r := cfg.Runtime
	s := check.Settings{
		Warnings: cfg.Warnings, Production: cfg.Production, Host: cfg.Host, DataDir: cmp.Or(cfg.DataDir, "."),
		LogLevel: strings.ToLower(cfg.LogLevel.String()), LogFormat: cfg.LogFormat,
		MaxWorkers: cfg.MaxWorkers, Shards: r.Shards, WorkersPerShard: r.WorkersPerShard,
		DatabaseMaxConns: r.DatabaseMaxConns,
		GOMAXPROCS:       r.GOMAXPROCS, QueueLength: cfg.QueueLength, Cores: r.Cores, HeapLimit: r.MemoryLimit,
		CgroupMemory: r.CgroupMemory,
		CacheSize:    cfg.CacheSize, BodyLimit: cfg.BodyLimit, MemoryMonitoring: cfg.MemoryMonitoring,
		Metrics: cfg.MetricsCollection,
		Webhook: cfg.AlertWebhookURL != "", ShutdownDelay: cfg.ShutdownDelay, ShutdownTimeout: cfg.ShutdownTimeout,
		Postgres: strings.HasPrefix(cfg.DatabaseURL.Reveal(), "postgres"), Redis: cfg.RedisURL != "",
		SessionSecret: evaluate(cfg.SessionSecrets...), AdminToken: evaluate(cfg.AdminToken),
		DatabasePassword: password(cfg.DatabaseURL), RedisPassword: password(cfg.RedisURL),
		CORSOrigins: cfg.CORSOrigins, TrustedProxies: cfg.TrustedProxies, Shown: map[string]string{},
	}
	for _, secret := range cfg.SessionSecrets {
		s.SameSecret = s.SameSecret || secret == cfg.AdminToken
	}
	for _, m := range mistakes {
		s.Mistakes = append(s.Mistakes, check.Mistake{Name: m.Name, Text: m.Err.Error()})
	}
	for _, setting := range cfg.Settings() {
		s.Shown[setting.Name] = setting.Value
	}
	return s
}

// evaluate returns the strength of the weakest of secrets.
func evaluate(secrets ...config.Secret) check.Secret {
	verdict := check.None
	for _, s := range secrets {
		switch {
		case s == "":
		case !s.Strong():
			return check.Weak
		default:
			verdict = check.Strong
		}
	}
	return verdict
}

// wellKnown lists passwords that attackers try first.
var wellKnown = []string{
	"password", "postgres", "notesd", "admin", "secret", "redis", "root", "letmein", "qwerty", "12345",
}

// password returns the strength of the password in a URL.
func password(secret config.Secret) check.Secret {
	const least = 12
	u, err := url.Parse(secret.Reveal())
	if err != nil {
		return check.None
	}
	p, _ := u.User.Password()
	weak := len(p) < least || config.Secret(p).Placeholder() || strings.EqualFold(p, u.User.Username())
	for _, word := range wellKnown {
		weak = weak || strings.Contains(strings.ToLower(p), word) && len(p) < 2*len(word)
	}
	switch {
	case p == "":
		return check.None
	case weak:
		return check.Weak
	}
	return check.Strong
}
