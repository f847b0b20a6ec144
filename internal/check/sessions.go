package check

import "fmt"

// noRedis says why Redis is not judged. It returns nil if Redis answers.
func (f Facts) noRedis() *opinion {
	if f.Redis == nil || f.Redis.Err != "" {
		return new(notApplicable("Redis was not asked"))
	}
	return nil
}

func redisAnswers(f Facts) opinion {
	switch r := f.Redis; {
	case !f.Settings.Redis && f.Replicas > 1:
		return warn("REDIS_URL=redis://…",
			"%d replicas without Redis: each counts RATE_LIMIT_MAX_REQUESTS by itself", f.Replicas)
	case !f.Settings.Redis:
		return notApplicable("no REDIS_URL: sessions are kept in the database")
	case r == nil:
		return notApplicable("REDIS_URL has a mistake")
	case r.Err != "":
		return fail("REDIS_URL", "%s", r.Err)
	case r.Refuses != "":
		return fail("a Redis that takes writes and scripts", "Redis %s answers, and nobody can sign in: %s",
			r.Version, r.Refuses)
	default:
		return ok("Redis %s answers", r.Version)
	}
}

func eviction(f Facts) opinion {
	if o := f.noRedis(); o != nil {
		return *o
	}
	r := f.Redis
	switch {
	case r.Policy == "":
		return unknown("maxmemory-policy noeviction", "Redis does not tell its maxmemory-policy")
	case r.Policy == "noeviction":
		return ok("maxmemory-policy noeviction: no session is put out")
	case len(r.Policy) > 7 && r.Policy[:7] == "allkeys":
		return fail("maxmemory-policy noeviction", "maxmemory-policy %s: full, Redis puts out sessions", r.Policy)
	}
	return warn("maxmemory-policy noeviction",
		"maxmemory-policy %s: sessions have a term, so full, Redis puts them out first", r.Policy)
}

func redisMemory(f Facts) opinion {
	if o := f.noRedis(); o != nil {
		return *o
	}
	r := f.Redis
	fix := fmt.Sprintf("maxmemory %dmb", max(128, roundUp(max(r.Limit*3/2, r.Memory*2)/mib, 64)))
	switch {
	case r.Limit == 0 && f.Settings.Production:
		return warn(fix, "maxmemory is not set: Redis grows until its machine ends it")
	case r.Limit == 0:
		return notApplicable("no maxmemory; fine in development")
	case r.Memory > r.Limit/100*95:
		return fail(fix, "%s used of maxmemory %s: nobody will be able to sign in", size(r.Memory), size(r.Limit))
	case r.Memory > r.Limit/100*80:
		return warn(fix, "%s used of maxmemory %s", size(r.Memory), size(r.Limit))
	}
	for _, s := range f.composeOf("redis") {
		if s.Memory > 0 && r.Limit > s.Memory/4*3 {
			return warn(fmt.Sprintf("maxmemory %dmb, or more memory for %s", s.Memory/2/mib, s.Name),
				"maxmemory is %s, and %s has %s: too little for the copy it makes to save",
				size(r.Limit), s.Name, size(s.Memory))
		}
	}
	return ok("maxmemory %s, less than 80 %% used", size(r.Limit))
}

// composeOf returns the services of a kind, if there is a compose file.
func (f Facts) composeOf(kind string) []Service {
	if f.Compose == nil {
		return nil
	}
	return f.Compose.of(kind)
}

func persistence(f Facts) opinion {
	if o := f.noRedis(); o != nil {
		return *o
	}
	switch r := f.Redis; {
	case r.AppendOnly:
		return ok("appendonly yes: sessions outlast a restart")
	case r.Snapshots == "?":
		return unknown("appendonly yes", "Redis does not tell whether it saves")
	case r.Snapshots != "":
		return ok("save %s: but for the last minutes, sessions outlast a restart", r.Snapshots)
	case f.Settings.Production:
		return warn("appendonly yes", "nothing is saved: a restart of Redis signs everybody out")
	default:
		return notApplicable("nothing is saved; fine in development")
	}
}

func redisTLS(f Facts) opinion {
	if o := f.noRedis(); o != nil {
		return *o
	}
	switch r := f.Redis; {
	case !far(r.Peer):
		return ok("on this machine or a private network")
	case !r.Encrypted:
		return fail("REDIS_URL=rediss://…", "the connection to %s is not encrypted", r.Peer)
	default:
		return ok("the connection to %s is encrypted", r.Peer)
	}
}

func redisClock(f Facts) opinion {
	if o := f.noRedis(); o != nil {
		return *o
	}
	return skewed("Redis's", f.Redis.Skew, f.Redis.Latency)
}

func alerts(f Facts) opinion {
	if !f.Settings.Webhook {
		return notApplicable("no webhook: set ALERT_WEBHOOK_URL=https://…, or have Prometheus watch /metrics")
	}
	return ok("sent to a webhook")
}

func metrics(f Facts) opinion {
	if !f.Settings.Metrics {
		return warn("ENABLE_METRICS_COLLECTION=true", "requests are not counted: /metrics and /api/metrics tell little")
	}
	return ok("requests are counted")
}

func logs(f Facts) opinion {
	s := f.Settings
	switch {
	case !s.Production:
		return notApplicable("development")
	case s.LogLevel == "error":
		return warn("LOG_LEVEL=info", "LOG_LEVEL=error: a replaced worker is a warning, and would not be seen")
	case s.LogLevel == "debug":
		return warn("LOG_LEVEL=info", "LOG_LEVEL=debug in production")
	case s.LogFormat != "json":
		return warn("LOG_FORMAT=json", "LOG_FORMAT=%s: collectors read JSON", s.LogFormat)
	}
	return ok("%s lines from %s on", s.LogFormat, s.LogLevel)
}

func replicas(f Facts) opinion {
	if f.Replicas < 2 {
		return notApplicable("one server is one point of failure: -replicas N judges more")
	}
	return ok("%d replicas on one database", f.Replicas)
}
