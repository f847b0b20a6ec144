package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"notesd/config"
	"notesd/internal/logging"
	"notesd/internal/redis"
	"notesd/internal/upgrade"
	"notesd/pool"
	"notesd/server"
	"notesd/store"
)

const (
	sweepEvery  = 10 * time.Minute
	delayTarget = 5 * time.Millisecond // CoDel's (RFC 8289)
	cachePart   = 32                   // one byte of memory in so many is for SQLite's page caches
	lockMargin  = 30 * time.Second     // on what a parent may take to leave
)

// Serve is the server from its settings to its last log line. What opens first closes last.
func Serve(ctx context.Context, p Process, args []string) (err error) {
	if err := p.noArguments("notesd serve\nRuns the server. Settings come from the environment (docs/CONFIGURATION.md).", args); err != nil {
		return err
	}
	cfg, err := config.Load(p.Environ)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // when the reader of its log ends, the server serves on
	guard := newExitGuard(cfg, p)
	defer guard.stop()
	defer context.AfterFunc(ctx, guard.begin)()
	cfg.Runtime.Apply() // memory limit from the cgroup; cores when asked or when a parent group's quota is tighter
	log, flush := p.newLog(cfg)
	defer func() { err = errors.Join(err, flush()) }()
	warn := sync.OnceFunc(func() { // last before the server listens, or ends
		for _, w := range cfg.Warnings {
			log.Warn(w)
		}
	})
	defer warn()
	in, err := upgrade.Inherit(p.Environ)
	if err != nil {
		return err
	}
	ln, err := in.Listen(listenAddress(cfg))
	if err != nil {
		return fmt.Errorf("%w (BACKEND_PORT and HOST say where to listen)", err)
	}
	defer func() { _ = ln.Close() }() // closed already when the server ran
	p.introduce(cfg)
	rdb, err := openRedis(cfg)
	if err != nil {
		return err
	}
	if rdb != nil {
		defer func() { err = errors.Join(err, rdb.Close()) }()
	}
	secrets, err := sessionSecrets(cfg)
	if err != nil {
		return err
	}
	if cfg.AdminToken == "" {
		if cfg.AdminToken, err = config.AdminToken(cfg.DataDir); err != nil { // a server without administrators serves
			log.Warn("metrics and the status page are closed: set ADMIN_TOKEN, or a DATA_DIR that can be written", "error", err)
		}
	}
	if store.IsFile(cfg.DatabaseURL.Reveal()) {
		// A child can't open the file while its parent has it, so it proves what it can: its settings
		// are right, the schema fits, Redis answers.
		fits := func(ctx context.Context) error { return store.FileFits(ctx, cfg.DatabaseURL.Reveal()) }
		if err := in.ReportReady(ctx, fits, writable(rdb)); err != nil {
			return err
		}
	}
	made := missingFile(cfg)
	copies := server.NewCopies(cfg.CacheSize, cfg.Runtime.Cores)
	quotaNotes, quotaBytes := defaultQuotas(cfg)
	db, err := store.Open(ctx, store.Config{QuotaNotes: quotaNotes, QuotaBytes: quotaBytes, URL: cfg.DatabaseURL.Reveal(), ChannelURL: cfg.ChannelURL.Reveal(),
		MaxConns: cfg.Runtime.DatabaseMaxConns, CacheBytes: memoryBound(cfg) / cachePart, Witness: copies, Log: log,
		LockPatience: lockPatience(cfg, in)})
	if err != nil {
		return namePlace(cfg, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if made != "" { // a wrong path looks like no data
		log.Info("made a new, empty database", "path", made)
	}
	alerts := newAlerts(cfg, log)
	incidents := newIncidents(cfg, alerts, log)
	workers := newPool(cfg, alerts, log)
	memory, stages := newMonitor(cfg, workers, alerts, log), newStages(cfg, workers, copies, alerts, log)
	settings := serverConfig(cfg, secrets)
	settings.Version, settings.SharedListener = p.version(), in.Held()
	s, err := server.New(settings, server.Parts{
		Store: db, Copies: copies, Redis: rdb, Pool: workers, Memory: memory, Stages: stages, Alerts: alerts, Incidents: incidents, Log: log})
	if err != nil {
		return err
	}
	debug.FreeOSMemory() // what the start has taken, a password's hash above all
	upgrader := p.newUpgrader(in, s, guard, alerts, log)
	defer inBackground(until(ctx, upgrader.Run), alerts.Run, workers.Watch, workers.Sample, stages.Run, memoryLoop(memory), sweepLoop(db, cfg, log),
		func(ctx context.Context) { cfg.Runtime.Follow(ctx, log) },
		incidentLoop(incidents, newSampler(cfg, s, workers)))()
	if err := in.ReportReady(ctx, db.WaitReady, writable(rdb)); err != nil {
		return err
	}
	if err := awaitDependencies(ctx, db, rdb); err != nil {
		return err
	}
	warn()
	if err := flush(); err != nil { // what was said on the way comes first
		return err
	}
	p.announce(cfg, db, ln, log)
	if !in.FromParent() { // the parent reports the readiness of a child process
		upgrade.Notify(p.Environ, "READY=1")
	}
	defer context.AfterFunc(ctx, func() { upgrade.Notify(p.Environ, "STOPPING=1") })()
	defer guard.begin() // whyever it ends
	return serveWhileUsable(ctx, s, db, ln)
}

// listenAddress returns the address that the settings say.
func listenAddress(cfg config.Config) string {
	return net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port))
}

// writable returns a check that Redis answers and takes what the server writes, if Redis is used.
func writable(rdb *redis.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		if rdb == nil {
			return nil
		}
		return rdb.Writable(ctx)
	}
}

// lockPatience returns how long to wait for the lock of a data directory: none, unless the parent
// has promised to leave it.
func lockPatience(cfg config.Config, in *upgrade.Inherited) time.Duration {
	if !in.FromParent() {
		return 0
	}
	return cfg.ShutdownDelay + cfg.ShutdownTimeout + lockMargin
}

// newUpgrader returns what replaces this process when the signal for it comes.
func (p Process) newUpgrader(
	in *upgrade.Inherited, s *server.Server, guard *exitGuard, alerts *server.Alerts, log *slog.Logger,
) *upgrade.Upgrader {
	return &upgrade.Upgrader{
		Path:       p.Path,
		Args:       p.Args,
		Environ:    p.Environ,
		Inherited:  in,
		Requests:   p.Upgrades,
		HandOver:   s.HandOver,
		HandedOver: guard.begin,
		Failed: func(err error) {
			alerts.Send(server.Event{Kind: "upgrade_failed", Subject: p.Path, Detail: map[string]any{"error": err.Error()}})
		},
		Log: log,
	}
}

// startPatience is how long the server waits for its dependencies before it listens without them.
const startPatience = time.Second

// awaitDependencies returns an error if the database or Redis answers, but can never be used with these settings: the
// password is wrong, say. One that does not answer is no error, since it may come.
func awaitDependencies(ctx context.Context, db *store.Store, rdb *redis.Client) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := db.WaitReady(ctx); neverUsable(err) {
		return err
	}
	if rdb == nil {
		return nil
	}
	return rdb.Refusal(ctx)
}

// neverUsable reports whether err says that waiting for the database is in vain.
func neverUsable(err error) bool {
	return errors.Is(err, store.ErrSchema) || errors.Is(err, store.ErrRefused) || errors.Is(err, store.ErrEncoding)
}

// serveWhileUsable serves until ctx ends, or until the database turns out to be
// one that can never be used.
func serveWhileUsable(ctx context.Context, s *server.Server, db *store.Store, ln *net.TCPListener) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		if err := db.WaitReady(ctx); neverUsable(err) {
			stop(err)
		}
	}()
	err := s.Serve(ctx, ln)
	if cause := context.Cause(ctx); neverUsable(cause) {
		return errors.Join(cause, err)
	}
	return err
}

// newLog makes the log that the settings ask for. The function flush writes the lines that are
// still buffered.
func (p Process) newLog(cfg config.Config) (log *slog.Logger, flush func() error) {
	return logging.New(p.Out, logging.Options{Level: cfg.LogLevel, JSON: cfg.LogFormat == "json", Terminal: p.onTerminal(),
		Coloured: os.Getenv("NO_COLOR") == ""})
}

// onTerminal reports whether people read the output of the process as it is printed.
func (p Process) onTerminal() bool {
	f, isFile := p.Out.(*os.File)
	return isFile && isTerminal(f)
}

// openRedis returns nil when no Redis is set.
func openRedis(cfg config.Config) (*redis.Client, error) {
	if cfg.RedisURL.Reveal() == "" {
		return nil, nil
	}
	return redis.Open(cfg.RedisURL.Reveal(), cfg.RedisSentinels...)
}

// sessionSecrets are the settings', or in development one that stays in the data directory.
func sessionSecrets(cfg config.Config) ([]string, error) {
	secrets := cfg.SessionSecrets
	if len(secrets) == 0 {
		own, err := config.SessionSecret(cfg.DataDir)
		if err != nil {
			return nil, fmt.Errorf("%w (DATA_DIR says where)", err)
		}
		secrets = append(secrets, own)
	}
	plain := make([]string, len(secrets))
	for i, secret := range secrets {
		plain[i] = secret.Reveal()
	}
	return plain, nil
}

func newPool(cfg config.Config, alerts *server.Alerts, log *slog.Logger) *pool.Pool {
	c := pool.Config{
		Shards:           cfg.Runtime.Shards,
		WorkersPerShard:  cfg.Runtime.WorkersPerShard,
		QueueLength:      cfg.QueueLength,
		QueueTimeout:     cfg.QueueTimeout,
		ReturnTimeout:    max(cfg.QueueTimeout, cfg.RequestTimeout/4),
		DelayTarget:      delayTarget,
		Passthrough:      http.ErrAbortHandler,
		RestartThreshold: cfg.RestartThreshold,
		RestartWindow:    cfg.RestartWindow,
		OnQuarantine: func(e pool.QuarantineEvent) {
			kind := "route_quarantined"
			if e.Released {
				kind = "route_released"
			}
			alerts.Send(server.Event{Kind: kind, Subject: e.Route,
				Detail: map[string]any{"panics": e.Panics, "fingerprint": e.Fingerprint}})
		},
		StuckAfter: 2 * cfg.RequestTimeout,
		OnStuck: func(e pool.StuckEvent) {
			kind := "worker_stuck"
			if e.Recovered {
				kind = "worker_recovered"
			}
			alerts.Send(server.Event{Kind: kind, Subject: e.Route,
				Detail: map[string]any{"worker": e.Worker, "replacement": e.Replacement, "heldMs": e.Held.Milliseconds()}})
		},
		Log: log,
	}
	c.Limits[pool.Password] = cfg.Runtime.PasswordWorkers
	c.PersonLimit = max(1, c.Shards*c.WorkersPerShard/8)
	return pool.New(c)
}

// newAlerts posts to the webhook, if one is set. Deliveries are signed with the
// administrators' token, which the receiver's people have.
func newAlerts(cfg config.Config, log *slog.Logger) *server.Alerts {
	return server.NewAlerts(cfg.AlertWebhookURL.Reveal(), cfg.AlertWebhookSecret.Reveal(), log)
}

// memoryBound is what the process may use: the container's limit, or without
// one GOMEMLIMIT; 0: no limit.
func memoryBound(cfg config.Config) int64 {
	return cmp.Or(cfg.Runtime.CgroupMemory, cfg.Runtime.MemoryLimit)
}

// newStages watches memoryBound. In a container GOMEMLIMIT, unless it is off,
// makes room for what is not Go's; elsewhere it says what Go may have and no more.
func newStages(cfg config.Config, workers *pool.Pool, copies *server.Copies, alerts *server.Alerts, log *slog.Logger) *pool.Stages {
	goLimit := int64(0)
	if cfg.Runtime.CgroupMemory > 0 {
		goLimit = cfg.Runtime.MemoryLimit
	}
	return pool.NewStages(pool.StagesConfig{
		Limit:   memoryBound(cfg),
		GoLimit: goLimit,
		Kept:    server.PasswordBytes,
		Pool:    workers,
		Log:     log,
		OnStage: func(before, now pool.Stage, needed int64) {
			copies.SetStage(now)
			kind := "memory_stage_down"
			if now > before {
				kind = "memory_stage_up"
			}
			alerts.Send(server.Event{Kind: kind, Subject: now.String(), Detail: map[string]any{"before": before.String(), "needed": needed}})
		},
	})
}

// newMonitor returns nil when memory is not to be monitored.
func newMonitor(cfg config.Config, workers *pool.Pool, alerts *server.Alerts, log *slog.Logger) *pool.Monitor {
	if !cfg.MemoryMonitoring {
		return nil
	}
	return pool.NewMonitor(pool.MonitorConfig{
		Interval:  cfg.MemoryMonitorInterval,
		Threshold: cfg.MemoryThreshold,
		Pool:      workers,
		Log:       log,
		OnEvent: func(e pool.MemoryEvent) {
			kind := "memory_normal"
			if e.Above {
				kind = "memory_high"
			}
			alerts.Send(server.Event{Kind: kind, Subject: "process memory",
				Detail: map[string]any{"rss": e.Memory.RSS, "threshold": e.Threshold}})
		},
	})
}

func serverConfig(cfg config.Config, secrets []string) server.Config {
	settings := map[string]string{}
	for _, s := range cfg.Settings() {
		settings[s.Name] = s.Value
	}
	return server.Config{
		Production:         cfg.Production,
		DataDir:            cfg.DataDir,
		RequestTimeout:     cfg.RequestTimeout,
		ShutdownDelay:      cfg.ShutdownDelay,
		ShutdownTimeout:    cfg.ShutdownTimeout,
		BodyLimit:          cfg.BodyLimit,
		MemoryBound:        memoryBound(cfg),
		CORSOrigins:        cfg.CORSOrigins,
		AllowedHosts:       cfg.AllowedHosts,
		TrustedProxies:     cfg.TrustedProxies,
		SessionsPerUser:    cfg.SessionsPerUser,
		RateLimitMax:       cfg.RateLimitMax,
		RateLimitWindow:    cfg.RateLimitWindow,
		RegistrationOpen:   cfg.RegistrationOpen,
		SessionSecrets:     secrets,
		AdminToken:         cfg.AdminToken.Reveal(),
		MetricsCollection:  cfg.MetricsCollection,
		WebVitalsLogging:   cfg.WebVitalsLogging,
		PerformanceLogging: cfg.PerformanceLogging,
		Machine:            server.Machine{Cores: cfg.Runtime.Cores, MemoryLimit: cfg.Runtime.CgroupMemory},
		Settings:           settings,
	}
}

// inBackground runs each until the function it returns is called, which waits for them.
func inBackground(loops ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, loop := range loops {
		running.Go(func() { loop(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// until returns a loop that ends when leaving ends, too.
func until(leaving context.Context, loop func(context.Context)) func(context.Context) {
	return func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(leaving, cancel)()
		loop(ctx)
	}
}

func memoryLoop(m *pool.Monitor) func(context.Context) {
	return func(ctx context.Context) {
		if m != nil {
			m.Run(ctx)
		}
	}
}

// sweepLoop removes what has run out: sessions, keys, tombstones, old trash.
// Several replicas may do so at once.
func sweepLoop(db *store.Store, cfg config.Config, log *slog.Logger) func(context.Context) {
	return func(ctx context.Context) {
		if db.WaitReady(ctx) != nil {
			return // it ended before the database came
		}
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			result, err := db.Sweep(ctx, store.SweepConfig{TrashRetention: cfg.TrashRetention})
			if err != nil && ctx.Err() == nil {
				log.Warn("sweep failed, trying again later", "error", err)
			} else if result != (store.SweepResult{}) {
				log.Info("swept", "result", result)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}
