package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"notesd/config"
	"notesd/internal/heavy"
	"notesd/internal/logging"
	"notesd/internal/redis"
	"notesd/internal/upgrade"
	"notesd/server"
	"notesd/server/api"
	"notesd/server/events"
	"notesd/store"
	"notesd/store/engine"
)

const (
	startPatience = time.Second      // for dependencies, before the server listens without them
	lockMargin    = 30 * time.Second // added to the time that a parent may take to shut down
	cachePart     = 32               // one part in so many of the memory is for SQLite's page caches
)

// Serve runs the server from reading its settings to its last log line.
func Serve(ctx context.Context, p Process, args []string) (err error) {
	const usage = "notesd serve\nRuns the server. Settings come from the environment (docs/CONFIGURATION.md)."
	if err := p.noArguments(usage, args); err != nil {
		return err
	}
	cfg, err := config.Load(p.Environ)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // the server serves on when the reader of its log ends
	guard := newExitGuard(cfg, p)
	defer guard.stop()
	defer context.AfterFunc(ctx, guard.begin)()
	// The memory limit comes from the cgroup. The cores are limited if they are set, or if a parent
	// group's quota is tighter.
	cfg.Runtime.Apply()
	heavy.SetCores(runtime.GOMAXPROCS(0))
	s := &serving{Process: p, cfg: cfg, guard: guard}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.build(); err != nil {
		return err
	}
	return s.run(ctx)
}

// A serving is one run of the server: the dependencies that are opened, and the parts that are
// built from them.
type serving struct {
	Process
	cfg   config.Config
	guard *exitGuard

	deps    server.Deps
	flush   func() error // flushes the log
	warn    func()       // logs the warnings of the settings, once
	in      *upgrade.Inherited
	ln      *net.TCPListener
	secrets []string
	server  *server.Server

	closers []func() error // close the dependencies that were opened
}

// onClose registers f to be called at the end. The functions are called in the reverse order of
// their registration.
func (s *serving) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *serving) close() (err error) {
	for _, f := range slices.Backward(s.closers) {
		err = errors.Join(err, f())
	}
	return err
}

// open opens the dependencies of the server: the log, the listener, Redis and the database.
func (s *serving) open(ctx context.Context) (err error) {
	s.deps.Log, s.flush = s.newLog(s.cfg)
	s.onClose(s.flush)
	s.warn = sync.OnceFunc(func() { // called last before the server listens or ends
		for _, w := range s.cfg.Warnings {
			s.deps.Log.Warn(w)
		}
	})
	s.onClose(func() error { s.warn(); return nil })
	if s.in, err = upgrade.Inherit(s.Environ); err != nil {
		return err
	}
	if s.ln, err = s.in.Listen(net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.cfg.Port))); err != nil {
		return fmt.Errorf("%w (BACKEND_PORT and HOST say where to listen)", err)
	}
	s.onClose(func() error { _ = s.ln.Close(); return nil }) // it is closed already if the server ran
	s.introduce(s.cfg)
	if s.deps.Redis, err = openRedis(s.cfg); err != nil {
		return err
	}
	if s.deps.Redis != nil {
		s.onClose(s.deps.Redis.Close)
	}
	if s.secrets, err = sessionSecrets(s.cfg); err != nil {
		return err
	}
	if s.cfg.AdminToken == "" {
		// The server also runs without an administrator.
		if s.cfg.AdminToken, err = config.AdminToken(s.cfg.DataDir); err != nil {
			s.deps.Log.Warn("metrics and the status page are closed: set ADMIN_TOKEN, or a DATA_DIR that "+
				"can be written",
				"error", err)
		}
	}
	if engine.IsFile(s.cfg.DatabaseURL.Reveal()) {
		// A child can't open the file while its parent has it open. The child checks what it can:
		// its settings are right, the schema fits, and Redis answers.
		fits := func(ctx context.Context) error { return engine.FileFits(ctx, s.cfg.DatabaseURL.Reveal()) }
		if err := s.in.ReportReady(ctx, fits, s.redisWritable); err != nil {
			return err
		}
	}
	return s.openStore(ctx)
}

// openStore opens the database and the cache in front of it.
func (s *serving) openStore(ctx context.Context) (err error) {
	made := missingFile(s.cfg)
	s.deps.Cache = api.NewResponseCache(s.cfg.CacheSize, s.cfg.Runtime.Cores)
	s.deps.Hub = events.NewHub(s.deps.Log)
	quotaNotes, quotaBytes := defaultQuotas(s.cfg)
	s.deps.Store, err = store.Open(ctx, store.Config{
		URL:          s.cfg.DatabaseURL.Reveal(),
		ChannelURL:   s.cfg.ChannelURL.Reveal(),
		MaxConns:     s.cfg.Runtime.DatabaseMaxConns,
		CacheBytes:   memoryBound(s.cfg) / cachePart,
		QuotaNotes:   quotaNotes,
		QuotaBytes:   quotaBytes,
		Invalidator:  s.deps.Cache,
		Changes:      s.deps.Hub,
		Log:          s.deps.Log,
		LockPatience: s.lockPatience(),
	})
	if err != nil {
		return namePlace(s.cfg, err)
	}
	s.onClose(s.deps.Store.Close)
	if made != "" { // printed because a wrong path looks like lost data
		s.deps.Log.Info("made a new, empty database", "path", made)
	}
	return nil
}

// lockPatience returns how long to wait for the lock of the data directory. It is 0, unless a
// parent has promised to release the lock.
func (s *serving) lockPatience() time.Duration {
	if !s.in.FromParent() {
		return 0
	}
	return s.cfg.ShutdownDelay + s.cfg.ShutdownTimeout + lockMargin
}

// build makes the pool, its monitors, and the server.
func (s *serving) build() (err error) {
	deps, log := &s.deps, s.deps.Log
	deps.Alerts = newAlerts(s.cfg, log)
	deps.Incidents = newIncidents(s.cfg, deps.Alerts, log)
	deps.Pool = newPool(s.cfg, deps.Alerts, log)
	deps.Memory = newMonitor(s.cfg, deps.Pool, deps.Alerts, log)
	deps.Stages = newStages(s.cfg, deps.Pool, deps.Cache, deps.Alerts, log)
	settings := serverConfig(s.cfg, s.secrets)
	settings.Version, settings.SharedListener, settings.Faults = s.version(), s.in.Held(), s.Faults
	s.server, err = server.New(settings, *deps)
	return err
}

// run serves until ctx ends. A child process first tells its parent that it is ready.
func (s *serving) run(ctx context.Context) error {
	defer inBackground(s.loops(ctx)...)()
	if err := s.in.ReportReady(ctx, s.deps.Store.WaitReady, s.redisWritable); err != nil {
		return err
	}
	if err := s.awaitDependencies(ctx); err != nil {
		return err
	}
	s.warn()
	if err := s.flush(); err != nil { // writes the log so far before announce prints
		return err
	}
	s.announce(s.cfg, s.deps.Store, s.ln, s.deps.Log)
	if !s.in.FromParent() { // the parent reports the readiness of a child process
		upgrade.Notify(s.Environ, "READY=1")
	}
	defer context.AfterFunc(ctx, func() { upgrade.Notify(s.Environ, "STOPPING=1") })()
	defer s.guard.begin() // whatever the reason for which it ends
	return s.serveWhileUsable(ctx)
}

// loops returns the loops that run beside the server. All but the one for upgrades run until the
// server has ended.
func (s *serving) loops(ctx context.Context) []func(context.Context) {
	deps := s.deps
	return []func(context.Context){
		until(ctx, s.upgrader().Run),
		deps.Alerts.Run,
		deps.Pool.Watch,
		deps.Pool.Sample,
		deps.Stages.Run,
		memoryLoop(deps.Memory),
		sweepLoop(deps.Store, s.cfg, deps.Log),
		func(ctx context.Context) { s.cfg.Runtime.Follow(ctx, deps.Log) },
		incidentLoop(deps.Incidents, newSampler(s.cfg, s.server), s.server.Admin()),
	}
}

// upgrader returns the Upgrader that replaces this process on a signal.
func (s *serving) upgrader() *upgrade.Upgrader {
	return &upgrade.Upgrader{
		Path:       s.Path,
		Args:       s.Args,
		Environ:    s.Environ,
		Inherited:  s.in,
		Requests:   s.Upgrades,
		HandOver:   s.server.HandOver,
		HandedOver: s.guard.begin,
		Failed:     func(err error) { s.deps.Alerts.UpgradeFailed(s.Path, err) },
		Log:        s.deps.Log,
	}
}

// redisWritable returns nil if Redis accepts the writes of the server, or if Redis is not used.
func (s *serving) redisWritable(ctx context.Context) error {
	if s.deps.Redis == nil {
		return nil
	}
	return s.deps.Redis.Writable(ctx)
}

// awaitDependencies returns an error if the database or Redis answers, but can never be used with
// these settings, for example because the password is wrong. A dependency that does not answer is
// no error, because it may answer later.
func (s *serving) awaitDependencies(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := s.deps.Store.WaitReady(ctx); neverUsable(err) {
		return err
	}
	if s.deps.Redis == nil {
		return nil
	}
	return s.deps.Redis.Denied(ctx)
}

// neverUsable reports whether err means that waiting for the database is useless.
func neverUsable(err error) bool {
	return errors.Is(err, store.ErrSchema) || errors.Is(err, store.ErrRefused) || errors.Is(err, store.ErrEncoding)
}

// serveWhileUsable serves until ctx ends, or until it turns out that the database can never be
// used.
func (s *serving) serveWhileUsable(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		if err := s.deps.Store.WaitReady(ctx); neverUsable(err) {
			stop(err)
		}
	}()
	err := s.server.Serve(ctx, s.ln)
	if cause := context.Cause(ctx); neverUsable(cause) {
		return errors.Join(cause, err)
	}
	return err
}

// newLog makes the log as the settings define it. The function flush writes the lines that are
// still buffered.
func (p Process) newLog(cfg config.Config) (log *slog.Logger, flush func() error) {
	return logging.New(p.Out, logging.Options{
		Level:    cfg.LogLevel,
		JSON:     cfg.LogFormat == "json",
		Terminal: p.onTerminal(),
		Coloured: os.Getenv("NO_COLOR") == "",
	})
}

// onTerminal reports whether users read the output of the process on a terminal while it is
// printed.
func (p Process) onTerminal() bool {
	f, isFile := p.Out.(*os.File)
	return isFile && isTerminal(f)
}

// openRedis opens the Redis that is set. It returns nil if none is set.
func openRedis(cfg config.Config) (*redis.Client, error) {
	if cfg.RedisURL.Reveal() == "" {
		return nil, nil
	}
	return redis.Open(cfg.RedisURL.Reveal(), cfg.RedisSentinels...)
}

// sessionSecrets returns the secrets that are set. In development it returns one that is kept in
// the data directory if none is set.
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
