package cli

import (
	"cmp"
	"log/slog"
	"net/http"
	"time"

	"notesd/config"
	"notesd/pool"
	"notesd/server"
	"notesd/server/admin"
	"notesd/server/api"
	"notesd/server/auth"
)

const delayTarget = 5 * time.Millisecond // CoDel's target delay (RFC 8289)

// newPool returns a pool that sends alerts of quarantined routes and stuck workers.
func newPool(cfg config.Config, alerts *admin.Alerts, log *slog.Logger) *pool.Pool {
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
		OnBreaker:        alerts.Breaker,
		StuckAfter:       2 * cfg.RequestTimeout,
		OnStuck:          alerts.Stuck,
		Log:              log,
	}
	c.Limits[pool.Password] = cfg.Runtime.PasswordWorkers
	c.FlowLimit = max(1, c.Shards*c.WorkersPerShard/8)
	return pool.New(c)
}

// newAlerts returns the alerts, which are posted to the webhook if one is set.
func newAlerts(cfg config.Config, log *slog.Logger) *admin.Alerts {
	return admin.NewAlerts(cfg.AlertWebhookURL.Reveal(), cfg.AlertWebhookSecret.Reveal(), log)
}

// memoryBound returns the bytes that the process may use: the limit of the container, or else
// GOMEMLIMIT. It returns 0 if there is no limit.
func memoryBound(cfg config.Config) int64 {
	return cmp.Or(cfg.Runtime.CgroupMemory, cfg.Runtime.MemoryLimit)
}

// newStages watches the memory use against memoryBound. In a container, GOMEMLIMIT is below that
// bound unless it is off, and leaves room for memory that Go does not manage. Elsewhere GOMEMLIMIT
// limits only the memory that Go manages.
func newStages(
	cfg config.Config, workers *pool.Pool, cache *api.ResponseCache, alerts *admin.Alerts, log *slog.Logger,
) *pool.PressureMonitor {
	goLimit := int64(0)
	if cfg.Runtime.CgroupMemory > 0 {
		goLimit = cfg.Runtime.MemoryLimit
	}
	return pool.NewPressureMonitor(pool.PressureConfig{
		Limit:   memoryBound(cfg),
		GoLimit: goLimit,
		Kept:    auth.HashBytes,
		Pool:    workers,
		Log:     log,
		OnChange: func(before, now pool.Pressure, needed int64) {
			cache.SetLimit(cacheLimit(cfg.CacheSize, now))
			alerts.Pressure(before, now, needed)
		},
	})
}

// cacheLimit returns the limit of the cache under memory pressure, in bytes. limit is the limit without
// pressure.
func cacheLimit(limit int64, p pool.Pressure) int64 {
	switch p {
	case pool.PressureNone:
		return limit
	case pool.PressureLow:
		return limit / 2
	}
	return 0
}

// newMonitor returns a monitor of memory. It returns nil if memory is not to be monitored.
func newMonitor(cfg config.Config, workers *pool.Pool, alerts *admin.Alerts, log *slog.Logger) *pool.Monitor {
	if !cfg.MemoryMonitoring {
		return nil
	}
	return pool.NewMonitor(pool.MonitorConfig{
		Interval:  cfg.MemoryMonitorInterval,
		Threshold: cfg.MemoryThreshold,
		Pool:      workers,
		Log:       log,
		OnEvent:   alerts.Memory,
	})
}

// serverConfig converts the settings for package server.
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
		Web:                cfg.Web,
		PerformanceLogging: cfg.PerformanceLogging,
		Machine:            admin.Machine{Cores: cfg.Runtime.Cores, MemoryLimit: cfg.Runtime.CgroupMemory},
		Settings:           settings,
	}
}
