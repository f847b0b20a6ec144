package check

import "slices"

// rules lists all rules, in the order of the checklist.
var rules = []rule{
	{"environment", "Configuration", "production is called so", environment},
	{"settings", "Configuration", "every setting is allowed", settings},
	{"warnings", "Configuration", "no setting is misspelt or without effect", warnings},

	{"workers", "Process", "workers fit the cores", workers},
	{"threads", "Process", "GOMAXPROCS fits the cores", threads},
	{"queue", "Process", "requests may wait for a worker", queue},
	{"drain", "Process", "proxies notice a shutdown", drain},
	{"open-files", "Process", "open files for all connections", openFiles},
	{"restarts", "Process", "no route closed, no worker stuck", restarts},
	{"load-workers", "Process", "workers and cores fit the measured load", loadWorkers},

	{"heap", "Memory", "the heap's limit fits the memory", heap},
	{"container-memory", "Memory", "the container's memory", containerMemory},
	{"cache", "Memory", "the cache fits the memory", cacheSize},
	{"body", "Memory", "bodies fit the memory", bodySize},
	{"memory-monitor", "Memory", "memory is monitored", memoryMonitor},
	{"kernel-memory", "Memory", "the kernel's ways with memory", kernelMemory},
	{"load-memory", "Memory", "memory fits the measured load", loadMemory},
	{"load-cache", "Memory", "the cache fits the measured load", loadCache},

	{"limits", "Containers", "CPU and memory limits",
		everyService("CPU and memory limits", "deploy.resources.limits: cpus, memory",
			func(s Service) bool { return s.Cores > 0 && s.Memory > 0 })},
	{"limits-fit", "Containers", "limits fit settings and machine", containerFits},
	{"health-checks", "Containers", "health checks",
		everyService("a health check", "healthcheck:", func(s Service) bool { return s.Health })},
	{"restart-policy", "Containers", "restart policy", everyService("a restart policy", "restart: unless-stopped",
		func(s Service) bool { return s.Restart != "" && s.Restart != "no" })},
	{"read-only", "Containers", "read-only root",
		everyService("a read-only root", "read_only: true", func(s Service) bool { return s.ReadOnly })},
	{"pinned", "Containers", "images are pinned", everyService("a pinned image", "image: name:tag", pinned)},
	{"grace", "Containers", "stop_grace_period outlasts the drain", grace},

	{"session-secret", "Security", "SESSION_SECRET is changed", sessionSecret},
	{"admin-token", "Security", "ADMIN_TOKEN is changed",
		secret("ADMIN_TOKEN", tokenSettings, func(s Settings) Secret { return s.AdminToken })},
	{"database-password", "Security", "the database's password is changed", databasePassword},
	{"redis-password", "Security", "Redis has a password", redisPassword},
	{"cors", "Security", "CORS_ORIGIN is set", cors},
	{"tls", "Security", "HTTPS, by a trusted proxy", tls},
	{"published", "Security", "only the proxy is published", published},
	{"env-files", "Security", "env files are not committed", envFiles},
	{"file-modes", "Security", "others can't read secrets", fileModes},
	{"user", "Security", "not run by root", user},

	{"database", "Database", "the database answers", databaseAnswers},
	{"database-version", "Database", "its version", databaseVersion},
	{"schema", "Database", "migrations have run", schema},
	{"connections", "Database", "connections for all workers and replicas", connections},
	{"load-connections", "Database", "no query waits for a connection", loadConnections},
	{"postgres-memory", "Database", "PostgreSQL's memory", postgresMemory},
	{"durability", "Database", "what is acknowledged is on disk", durability},
	{"database-tls", "Database", "the way there is encrypted", databaseTLS},
	{"notifications", "Database", "replicas hear of each other", notifications},
	{"database-clock", "Database", "its clock", databaseClock},
	{"file-system", "Database", "SQLite on a local disk", fileSystem},
	{"disk", "Database", "room on the disk", disk},

	{"redis", "Sessions", "Redis answers", redisAnswers},
	{"eviction", "Sessions", "sessions are not put out", eviction},
	{"redis-memory", "Sessions", "Redis's memory", redisMemory},
	{"persistence", "Sessions", "sessions outlast a restart", persistence},
	{"redis-tls", "Sessions", "the way there is encrypted", redisTLS},
	{"redis-clock", "Sessions", "its clock", redisClock},

	{"ready", "Monitoring", "the server is alive and ready", ready},
	{"log-rotation", "Monitoring", "log rotation", everyService("log rotation", "logging.options: max-size, max-file",
		func(s Service) bool { return s.LogSize != "" })},
	{"logs", "Monitoring", "the log is of use", logs},
	{"metrics", "Monitoring", "requests are counted", metrics},
	{"alerts", "Monitoring", "somebody is told of failures", alerts},

	{"same-version", "Deployment", "the server runs this binary with these settings", sameVersion},
	{"replicas", "Deployment", "more than one server", replicas},
}

func sorted(names []string) []string { slices.Sort(names); return names }
