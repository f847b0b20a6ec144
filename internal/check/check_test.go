package check

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	gocmp "github.com/google/go-cmp/cmp"
)

// good is a production set-up with nothing to say against, under load.
func good() Facts {
	const gib = 1 << 30
	r := &Runtime{Version: "1.0", Started: time.Unix(0, 0), Now: time.Unix(7200, 0)}
	r.Pool.Done, r.Pool.Stuck.Bound = 100_000, 4
	r.Limits.Cores = 2
	r.Limits.Settings = map[string]string{"MAX_WORKERS": "2"}
	r.Memory.RSS, r.Memory.GCShare = 100*mib, 0.02
	if err := json.Unmarshal([]byte(`{"memoryStages": {"stage": "calm", "needed": 209715200, "limit": 536870912},
		"database": {"database": {"most": 18}},
		"cache": {"limit": 33554432, "kinds": {"note": {"hits": 9000, "misses": 1000}}}}`), r); err != nil {
		panic(err)
	}
	services := []Service{
		{Name: "caddy", Image: "caddy:2", Ports: []Port{{"", "443"}}},
		{Name: "notesd", Image: "notesd", Built: true, Production: true, Drain: 15 * time.Second},
		{Name: "postgres", Image: "postgres:17"},
		{Name: "redis", Image: "docker.io/library/redis:7"},
	}
	for i := range services {
		s := &services[i]
		s.Restart, s.LogSize, s.Health, s.Grace, s.Cores, s.Memory, s.ReadOnly = "unless-stopped", "10m", true, 30*time.Second, 1, 512*mib, true
	}
	return Facts{
		Version: "1.0",
		Settings: Settings{
			Production: true, DataDir: "/data", LogLevel: "info", LogFormat: "json",
			Shards: 2, WorkersPerShard: 8, DatabaseMaxConns: 18, QueueLength: 512, Cores: 2,
			HeapLimit: 460 * mib, CgroupMemory: 512 * mib, CacheSize: 32 * mib, BodyLimit: 10 * mib,
			MemoryMonitoring: true, Metrics: true, Webhook: true, ShutdownDelay: 5 * time.Second, ShutdownTimeout: 10 * time.Second,
			Postgres: true, Redis: true, SessionSecret: Strong, AdminToken: Strong, DatabasePassword: Strong, RedisPassword: Strong,
			CORSOrigins: []string{"https://notes.example.com"}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")},
			Shown: map[string]string{"MAX_WORKERS": "2"},
		},
		Machine: Machine{Cores: 4, Memory: 8 * gib, OpenFiles: 65536, HugePages: "madvise", DiskFree: 20 * gib, FileSystem: "ext4"},
		Files:   Files{Git: true},
		// Two replicas of 20 connections each fit into 100.
		Replicas: 2,
		Database: &Database{Engine: "PostgreSQL", Version: "17.2", Schema: 3, Newest: 3, MaxConnections: 100, Reserved: 3, ConnLimit: -1,
			SharedBuffers: 128 * mib, EffectiveCache: 320 * mib, WorkMem: 4 * mib, MaintenanceMem: 64 * mib,
			Fsync: true, FullPageWrites: true, SynchronousCommit: "on", Peer: netip.MustParseAddr("172.18.0.3"), Heard: true},
		Redis: &Redis{Version: "7.2", Policy: "noeviction", Memory: mib, Limit: 128 * mib, AppendOnly: true,
			Peer: netip.MustParseAddr("172.18.0.4")},
		Server:  &Server{URL: "http://127.0.0.1:3001", Alive: true, Ready: true, Runtime: r, CPU: 7200},
		Compose: &Compose{File: "compose.prod.yaml", Services: services},
	}
}

func TestGood(t *testing.T) {
	r := Evaluate(good())
	for _, f := range r.Rows {
		want := OK
		if f.ID == "file-system" { // SQLite's
			want = NotApplicable
		}
		if f.Verdict != want || f.Seen == "" || f.Fix != "" {
			t.Errorf("%s: %s, %q, %q, want %s and no fix", f.ID, f.Verdict, f.Seen, f.Fix, want)
		}
	}
	if r.Verdict != OK || r.Counts[OK] != len(r.Rows)-1 {
		t.Errorf("verdict %s of %v", r.Verdict, r.Counts)
	}
}

// edges are changes to a good set-up, and what each makes of one row.
var edges = []struct {
	row    string
	change func(*Facts)
	want   Verdict
	says   string // a part of what is seen or of the fix
}{
	{"environment", func(f *Facts) { f.Settings.Production = false }, NotApplicable, "APP_ENV=production"},
	{"settings", wrong("LOG_LEVEL"), Fail, "LOG_LEVEL is wrong"},
	{"settings", wrong("SESSION_SECRET"), OK, ""}, // it has a row of its own
	{"warnings", func(f *Facts) { f.Settings.Warnings = []string{"HOTS is not a setting"} }, Warn, "HOTS"},

	{"workers", wrong("WORKERS_PER_SHARD"), Fail, "WORKERS_PER_SHARD is wrong"},
	{"workers", func(f *Facts) { f.Settings.MaxWorkers = 2 }, OK, "2 shards"},
	{"workers", func(f *Facts) { f.Settings.MaxWorkers = 3 }, Warn, "MAX_WORKERS=2"},
	{"workers", func(f *Facts) { f.Settings.Shards = 1 }, Warn, "wasted"},
	{"workers", func(f *Facts) { f.Settings.Shards, f.Settings.Cores = 7, 8 }, OK, ""}, // one for the system
	{"workers", func(f *Facts) { f.Settings.Shards, f.Settings.Cores = 6, 8 }, Warn, "wasted"},
	{"threads", func(f *Facts) { f.Settings.GOMAXPROCS = 2 }, OK, ""},
	{"threads", func(f *Facts) { f.Settings.GOMAXPROCS = 1 }, Warn, "GOMAXPROCS=2"},
	{"threads", func(f *Facts) { f.Settings.GOMAXPROCS = 3 }, Warn, "GOMAXPROCS=2"},
	{"threads", func(f *Facts) { f.Settings.GOMAXPROCS, f.Settings.Cores, f.Settings.Shards = 2, 1, 1 }, OK, ""}, // as Go chooses
	{"queue", func(f *Facts) { f.Settings.QueueLength = 1 }, OK, ""},
	{"queue", func(f *Facts) { f.Settings.QueueLength = 0 }, Warn, "unset QUEUE_LENGTH"},
	{"drain", func(f *Facts) { f.Settings.ShutdownDelay = time.Second }, OK, ""},
	{"drain", func(f *Facts) { f.Settings.ShutdownDelay = time.Second - 1 }, Warn, "SHUTDOWN_DELAY=5s"},
	{"drain", func(f *Facts) { f.Settings.ShutdownDelay, f.Settings.Production = 0, false }, OK, ""},
	{"open-files", func(f *Facts) { f.Machine.OpenFiles = 4096 }, OK, ""},
	{"open-files", func(f *Facts) { f.Machine.OpenFiles = 4095 }, Warn, "LimitNOFILE"},
	{"open-files", func(f *Facts) { f.Machine.OpenFiles = 1023 }, Fail, "LimitNOFILE"},
	{"open-files", func(f *Facts) { f.Machine.OpenFiles = 0 }, Unknown, "ulimit"},
	{"restarts", runtimeSays(`{"pool": {"quarantine": [{"route": "GET /x", "quarantined": true}]}}`), Fail, "GET /x"},
	{"restarts", runtimeSays(`{"pool": {"quarantine": [{"route": "GET /x"}]}}`), OK, ""},
	{"restarts", runtimeSays(`{"pool": {"stuck": {"replaced": 1}}}`), Warn, "restart"},
	{"restarts", func(f *Facts) { f.Server = nil }, NotApplicable, "-url"},
	{"restarts", func(f *Facts) { f.Server.Runtime = nil }, Unknown, "ADMIN_TOKEN"},
	{"load-workers", runtimeSays(shedOne), Warn, "WORKERS_PER_SHARD=12 with DATABASE_MAX_CONNS=26"},
	{"load-workers", func(f *Facts) { runtimeSays(shedOne)(f); f.Server.CPU = 2 * 7200 }, Warn, "NOTESD_CPUS=3"},
	{"load-workers", func(f *Facts) {
		runtimeSays(shedOne)(f)
		f.Server.Recent = &Recent{Over: time.Second, CPU: 1.4}
	}, Warn, "NOTESD_CPUS=3"},
	{"load-workers", runtimeSays(`{"pool": {"shards": [{"wait": {"count": 9, "p99Ms": 25}}]}}`), OK, ""},
	{"load-workers", runtimeSays(`{"pool": {"shards": [{"wait": {"count": 9, "p99Ms": 26}}]}}`), Warn, "WORKERS_PER_SHARD"},
	{"load-workers", runtimeSays(`{"pool": {"done": 9999}}`), NotApplicable, "too little load"},
	{"load-workers", func(f *Facts) { f.Server.Runtime.Now = time.Unix(3599, 0) }, NotApplicable, "too little load"},
	{"load-workers", func(f *Facts) { f.Server.CPU = 1440 }, OK, ""},
	{"load-workers", func(f *Facts) { f.Server.CPU = 1439 }, Warn, "NOTESD_CPUS=1"},

	{"heap", wrong("GOMEMLIMIT"), Fail, "GOMEMLIMIT is wrong"},
	{"heap", func(f *Facts) { f.Settings.HeapLimit = 512*mib + 1 }, Fail, "GOMEMLIMIT=460MiB"},
	{"heap", func(f *Facts) { f.Settings.HeapLimit = 512 * mib }, Warn, "less than 5 %"},
	{"heap", func(f *Facts) { f.Settings.HeapLimit = 486 * mib }, OK, ""},
	{"heap", func(f *Facts) { f.Settings.HeapLimit = 487 * mib }, Warn, "GOMEMLIMIT=460MiB"},
	{"heap", func(f *Facts) { f.Settings.HeapLimit = 256 * mib }, OK, ""},
	{"heap", func(f *Facts) { f.Settings.HeapLimit = 256*mib - 1 }, Warn, "wasted"},
	{"heap", func(f *Facts) { f.Settings.HeapLimit = 0 }, Warn, "off"},
	{"heap", func(f *Facts) { f.Settings.HeapLimit, f.Settings.CgroupMemory = 0, 0 }, Warn, "GOMEMLIMIT=6144MiB"},
	{"heap", func(f *Facts) { f.Settings.HeapLimit, f.Settings.CgroupMemory = 9<<30, 0 }, Fail, "the machine's memory"},
	{"heap", func(f *Facts) { f.Settings.HeapLimit, f.Settings.CgroupMemory, f.Settings.Production = 0, 0, false }, NotApplicable, ""},
	{"heap", func(f *Facts) { f.Settings.CgroupMemory, f.Machine.Memory = 0, 0 }, NotApplicable, ""},
	{"container-memory", func(f *Facts) { f.Settings.CgroupMemory = 64 * mib }, OK, ""},
	{"container-memory", func(f *Facts) { f.Settings.CgroupMemory = 64*mib - 1 }, Fail, "NOTESD_MEMORY=128M"},
	{"container-memory", func(f *Facts) { f.Machine.Memory = 512*mib - 1 }, Warn, "NOTESD_MEMORY=383M"},
	{"container-memory", func(f *Facts) { f.Settings.CgroupMemory = 0 }, NotApplicable, ""},
	{"cache", func(f *Facts) { f.Settings.CacheSize = 115 * mib }, OK, ""},
	{"cache", func(f *Facts) { f.Settings.CacheSize = 116 * mib }, Warn, "CACHE_SIZE_MB=28"},
	{"cache", func(f *Facts) { f.Settings.CacheSize = 0 }, Warn, "unset CACHE_SIZE_MB"},
	{"body", func(f *Facts) { f.Settings.BodyLimit = 115 * mib }, OK, ""},
	{"body", func(f *Facts) { f.Settings.BodyLimit = 116 * mib }, Warn, "BODY_PARSER_LIMIT=57mb"},
	{"memory-monitor", func(f *Facts) { f.Settings.MemoryMonitoring = false }, Warn, "ENABLE_MEMORY_MONITORING=true"},
	{"kernel-memory", func(f *Facts) { f.Machine.Overcommit = 1 }, OK, ""},
	{"kernel-memory", func(f *Facts) { f.Machine.Overcommit = 2 }, Warn, "vm.overcommit_memory=0"},
	{"kernel-memory", func(f *Facts) { f.Machine.HugePages = "always" }, OK, ""},
	{"kernel-memory", func(f *Facts) { f.Machine.HugePages, f.Machine.HugeMost = "always", 511 }, Warn, "madvise"},
	{"kernel-memory", func(f *Facts) { f.Machine.HugePages = "" }, NotApplicable, ""},
	{"load-memory", runtimeSays(`{"memoryStages": {"stage": "tight"}}`), Warn, "NOTESD_MEMORY=768M"},
	{"load-memory", func(f *Facts) { f.Server.Runtime.Memory.GCShare = 0.25 }, OK, ""},
	{"load-memory", func(f *Facts) { f.Server.Runtime.Memory.GCShare = 0.26 }, Warn, "NOTESD_MEMORY=768M"},
	{"load-memory", runtimeSays(`{"memoryStages": {"needed": 67108864}}`), OK, ""},
	{"load-memory", runtimeSays(`{"memoryStages": {"needed": 67108863}}`), Warn, "NOTESD_MEMORY=192M"},
	{"load-memory", runtimeSays(`{"pool": {"done": 9999}}`), NotApplicable, "too little load"},
	{"load-cache", runtimeSays(`{"cache": {"evicted": 5000, "kinds": {"note": {"hits": 5000, "misses": 5000}}}}`), OK, ""},
	{"load-cache", runtimeSays(`{"cache": {"evicted": 5000, "kinds": {"note": {"hits": 4999, "misses": 5001}}}}`), Warn, "CACHE_SIZE_MB=64"},
	{"load-cache", runtimeSays(`{"cache": {"kinds": {"note": {"hits": 99, "misses": 900}}}}`), NotApplicable, "too little load"},

	{"limits", service("redis", func(s *Service) { s.Memory = 0 }), Fail, "redis"},
	{"limits", service("caddy", func(s *Service) { s.Cores = 0 }), Fail, "caddy"},
	{"limits", func(f *Facts) {
		service("notesd", func(s *Service) { s.Production, s.Cores = false, 0 })(f)
	}, NotApplicable, "development"},
	{"limits", func(f *Facts) { f.Compose = nil }, NotApplicable, "-compose"},
	{"limits", func(f *Facts) { f.Compose = &Compose{Err: "it is not YAML"} }, Unknown, "not YAML"},
	{"limits-fit", service("notesd", func(s *Service) { s.Cores = 4 }), OK, ""},
	{"limits-fit", service("notesd", func(s *Service) { s.Cores = 5 }), Warn, "cpus: 4"},
	{"limits-fit", service("notesd", func(s *Service) { s.Memory = 8 << 30 }), Warn, "together"},
	{"limits-fit", service("notesd", func(s *Service) { s.Heap = 512 * mib }), OK, ""},
	{"limits-fit", service("notesd", func(s *Service) { s.Heap = 512*mib + 1 }), Fail, "GOMEMLIMIT=460MiB"},
	{"limits-fit", service("notesd", func(s *Service) { s.MaxWorkers = 1 }), OK, ""},
	{"limits-fit", service("notesd", func(s *Service) { s.MaxWorkers = 2 }), Warn, "MAX_WORKERS=1"},
	{"limits-fit", service("notesd", func(s *Service) { s.MaxWorkers, s.Cores = 1, 2 }), Warn, "unset MAX_WORKERS"},
	{"health-checks", service("redis", func(s *Service) { s.Health = false }), Fail, "healthcheck: for redis"},
	{"restart-policy", service("redis", func(s *Service) { s.Restart = "always" }), OK, ""},
	{"restart-policy", service("redis", func(s *Service) { s.Restart = "no" }), Fail, "restart: unless-stopped for redis"},
	{"read-only", service("notesd", func(s *Service) { s.ReadOnly = false }), Fail, "read_only: true for notesd"},
	{"pinned", service("redis", func(s *Service) { s.Image = "redis@sha256:abc" }), OK, ""},
	{"pinned", service("redis", func(s *Service) { s.Image = "redis" }), Fail, "redis"},
	{"pinned", service("redis", func(s *Service) { s.Image = "host:5000/redis:latest" }), Fail, "redis"},
	{"grace", service("notesd", func(s *Service) { s.Grace = 15*time.Second + 1 }), OK, ""},
	{"grace", service("notesd", func(s *Service) { s.Grace = 15 * time.Second }), Fail, "stop_grace_period: 30s"},

	{"session-secret", wrong("SESSION_SECRET"), Fail, "openssl rand -hex 32"},
	{"session-secret", func(f *Facts) { f.Settings.SessionSecret = Weak }, Warn, "openssl rand -hex 32"},
	{"session-secret", func(f *Facts) { f.Settings.SessionSecret = None }, NotApplicable, ""},
	{"session-secret", func(f *Facts) { f.Settings.SameSecret = true }, Warn, "the same"},
	{"session-secret", func(f *Facts) { f.Database.OlderTOTP = 3 }, Warn, "3 people's TOTP secrets still need an older secret"},
	{"session-secret", func(f *Facts) { f.Database.LostTOTP = 2 }, Warn, "2 people's TOTP secrets need a secret that is not listed"},
	{"session-secret", func(f *Facts) { f.Database = nil }, OK, ""},
	{"admin-token", wrong("ADMIN_TOKEN"), Fail, "ADMIN_TOKEN=$(openssl"},
	{"database-password", wrong("DATABASE_PASSWORD"), Fail, "DATABASE_PASSWORD=$(openssl"},
	{"database-password", func(f *Facts) { f.Settings.DatabasePassword = Weak }, Fail, "DATABASE_PASSWORD"},
	{"database-password", func(f *Facts) { f.Settings.DatabasePassword = None }, Fail, "there is none"},
	{"database-password", func(f *Facts) { f.Settings.DatabasePassword, f.Settings.Production = Weak, false }, NotApplicable, ""},
	{"database-password", func(f *Facts) { f.Settings.Postgres = false }, NotApplicable, ""},
	{"redis-password", wrong("REDIS_URL"), Fail, "requirepass"},
	{"redis-password", func(f *Facts) { f.Settings.RedisPassword = None }, Fail, "requirepass"},
	{"cors", wrong("CORS_ORIGIN"), Fail, "CORS_ORIGIN=https://"},
	{"cors", func(f *Facts) { f.Settings.OtherSites = []string{"https://other.example"} }, Fail, "one site for both"},
	{"tls", func(f *Facts) { f.Settings.CORSOrigins = []string{"http://notes.example.com"} }, Fail, "CORS_ORIGIN=https://notes.example.com"},
	{"tls", func(f *Facts) { f.Settings.TrustedProxies = nil }, Fail, "TRUSTED_PROXIES="},
	{"tls", func(f *Facts) { f.Settings.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} }, Fail, "everybody"},
	{"tls", func(f *Facts) { f.Settings.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }, Warn, "HOST=127.0.0.1"},
	{"tls", func(f *Facts) {
		f.Settings.TrustedProxies, f.Settings.Host = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, "127.0.0.1"
	}, OK, ""},
	{"tls", func(f *Facts) { f.Settings.TrustedProxies, f.Settings.Production = nil, false }, NotApplicable, ""},
	{"published", service("postgres", func(s *Service) { s.Ports = []Port{{"", "5432"}} }), Fail, "postgres on 0.0.0.0:5432"},
	{"published", service("redis", func(s *Service) { s.Ports = []Port{{"192.0.2.1", "6379"}} }), Fail, "redis on 192.0.2.1:6379"},
	{"published", service("postgres", func(s *Service) { s.Ports = []Port{{"127.0.0.1", "5432"}, {"::1", "5432"}} }), OK, ""},
	{"published", service("notesd", func(s *Service) { s.Ports = []Port{{"", "3001"}} }), Fail, "notesd on"},
	{"env-files", func(f *Facts) { f.Files.Committed = []string{".env: ADMIN_TOKEN"} }, Fail, "git rm --cached"},
	{"env-files", func(f *Facts) { f.Files.Git = false }, NotApplicable, ""},
	{"file-modes", func(f *Facts) { f.Files.Open = []string{"data/session-secret"} }, Fail, "chmod go= data/session-secret"},
	{"file-modes", func(f *Facts) { f.Files.Open, f.Settings.Production = []string{".env"}, false }, Warn, "chmod"},
	{"user", func(f *Facts) { f.Machine.Root = true }, Warn, "user:"},
	{"user", func(f *Facts) { f.Machine.Root, f.Settings.Production = true, false }, NotApplicable, ""},

	{"database", func(f *Facts) { f.Database.Err = "refused" }, Fail, "DATABASE_URL"},
	{"database", func(f *Facts) { f.Database.Missing = true }, NotApplicable, ""},
	{"database", func(f *Facts) { f.Database = nil }, NotApplicable, ""},
	{"database", func(f *Facts) { f.Database.Latency = 20 * time.Millisecond }, OK, ""},
	{"database", func(f *Facts) { f.Database.Latency = 20*time.Millisecond + 1 }, Warn, "nearer"},
	{"database-version", func(f *Facts) { f.Database.Version = "15.1 (Debian)" }, OK, ""},
	{"database-version", func(f *Facts) { f.Database.Version = "14.9" }, Warn, "15 or newer"},
	{"database-version", func(f *Facts) { f.Database.Version = "" }, Warn, "15 or newer"},
	{"schema", func(f *Facts) { f.Database.Schema = 2 }, Fail, "notesd migrate"},
	{"schema", func(f *Facts) { f.Database.Schema = 4 }, Warn, "newer notesd"},
	{"schema", func(f *Facts) { f.Database.Misfit = "too new" }, Fail, "too new"},
	{"schema", func(f *Facts) { f.Database.Err = "refused" }, NotApplicable, ""},
	{"connections", wrong("DATABASE_MAX_CONNS"), Fail, "DATABASE_MAX_CONNS=18"},
	{"connections", func(f *Facts) { f.Database.MaxConnections = 43 }, OK, ""},
	{"connections", func(f *Facts) { f.Database.MaxConnections = 42 }, Fail, "max_connections=50, or DATABASE_MAX_CONNS=17"},
	{"connections", func(f *Facts) { f.Database.OthersConnected = 57 }, OK, ""},
	{"connections", func(f *Facts) { f.Database.OthersConnected = 58 }, Warn, "max_connections=110"},
	{"connections", func(f *Facts) { f.Database.ConnLimit = 40 }, OK, ""},
	{"connections", func(f *Facts) { f.Database.ConnLimit = 39 }, Fail, "too few"},
	{"load-connections", runtimeSays(`{"database": {"database": {"waitCount": 100}}}`), OK, ""},
	{"load-connections", runtimeSays(`{"database": {"database": {"waitCount": 101}}}`), Warn, "DATABASE_MAX_CONNS=18"},
	{"load-connections", func(f *Facts) { f.Server.Recent = &Recent{Requests: 100, Waits: 1} }, Warn, "DATABASE_MAX_CONNS"},
	{"postgres-memory", func(f *Facts) { f.Database.SharedBuffers = 128*mib - 1 }, Warn, "shared_buffers=128MB"},
	{"postgres-memory", func(f *Facts) { f.Database.EffectiveCache = 127 * mib }, Warn, "effective_cache_size=256MB"},
	{"postgres-memory", func(f *Facts) { f.Database.EffectiveCache = 513 * mib }, Warn, "effective_cache_size=320MB"},
	{"postgres-memory", func(f *Facts) { f.Database.WorkMem = 64 * mib }, Warn, "shared_buffers=128MB"},
	{"postgres-memory", func(f *Facts) { f.Compose = nil }, OK, ""},
	{"durability", func(f *Facts) { f.Database.Fsync = false }, Fail, "fsync=on"},
	{"durability", func(f *Facts) { f.Database.FullPageWrites = false }, Fail, "full_page_writes=on"},
	{"durability", func(f *Facts) { f.Database.SynchronousCommit = "off" }, Fail, "synchronous_commit=on"},
	{"durability", func(f *Facts) { f.Database.SynchronousCommit = "local" }, OK, ""},
	{"durability", func(f *Facts) { f.Database.Engine, f.Database.JournalMode = "SQLite", "wal" }, OK, ""},
	{"durability", func(f *Facts) { f.Database.Engine, f.Database.JournalMode = "SQLite", "delete" }, Warn, "WAL"},
	{"database-tls", func(f *Facts) { f.Database.Peer = netip.MustParseAddr("192.0.2.1") }, Fail, "sslmode=verify-full"},
	{"database-tls", func(f *Facts) { f.Database.Peer, f.Database.Encrypted = netip.MustParseAddr("192.0.2.1"), true }, Warn, "verify-full"},
	{"database-tls", func(f *Facts) {
		f.Database.Peer, f.Database.Encrypted, f.Database.Verified = netip.MustParseAddr("192.0.2.1"), true, true
	}, OK, ""},
	{"database-tls", func(f *Facts) { f.Database.Peer = netip.Addr{} }, OK, ""}, // a socket
	{"notifications", func(f *Facts) { f.Database.Heard = false }, Warn, "pooler"},
	{"database-clock", func(f *Facts) { f.Database.Skew = time.Second - 1 }, OK, ""},
	{"database-clock", func(f *Facts) { f.Database.Skew = time.Second }, Warn, "NTP"},
	{"database-clock", func(f *Facts) { f.Database.Skew = -5 * time.Second }, Fail, "NTP"},
	{"database-clock", func(f *Facts) { f.Database.Skew, f.Database.Latency = -5*time.Second, time.Second }, Warn, "NTP"},
	{"file-system", onSQLite, OK, "ext4"},
	{"file-system", func(f *Facts) { onSQLite(f); f.Machine.FileSystem = "nfs4" }, Fail, "local disk"},
	{"file-system", func(f *Facts) { onSQLite(f); f.Machine.FileSystem = "" }, Unknown, "local disk"},
	{"file-system", func(f *Facts) { onSQLite(f); f.Replicas = 2 }, Fail, "DATABASE_URL=postgres"},
	{"disk", func(f *Facts) { f.Machine.DiskFree = 1024 * mib }, OK, ""},
	{"disk", func(f *Facts) { f.Machine.DiskFree = 1024*mib - 1 }, Warn, "DATA_DIR"},
	{"disk", func(f *Facts) { f.Machine.DiskFree = 256*mib - 1 }, Fail, "DATA_DIR"},
	{"disk", func(f *Facts) { f.Machine.DiskFree = 0 }, Unknown, "DATA_DIR"},

	{"redis", func(f *Facts) { f.Redis.Err = "refused" }, Fail, "REDIS_URL"},
	{"redis", func(f *Facts) { f.Redis.Refuses = "READONLY" }, Fail, "takes writes"},
	{"redis", func(f *Facts) { f.Settings.Redis = false }, Warn, "REDIS_URL"},
	{"redis", func(f *Facts) { f.Settings.Redis, f.Replicas = false, 1 }, NotApplicable, ""},
	{"redis", func(f *Facts) { f.Redis = nil }, NotApplicable, ""},
	{"eviction", func(f *Facts) { f.Redis.Policy = "allkeys-lru" }, Fail, "noeviction"},
	{"eviction", func(f *Facts) { f.Redis.Policy = "volatile-lru" }, Warn, "noeviction"},
	{"eviction", func(f *Facts) { f.Redis.Policy = "" }, Unknown, "noeviction"},
	{"redis-memory", func(f *Facts) { f.Redis.Memory = 102 * mib }, OK, ""},
	{"redis-memory", func(f *Facts) { f.Redis.Memory = 103 * mib }, Warn, "maxmemory 256mb"},
	{"redis-memory", func(f *Facts) { f.Redis.Memory = 122 * mib }, Fail, "maxmemory 256mb"},
	{"redis-memory", func(f *Facts) { f.Redis.Limit = 0 }, Warn, "maxmemory 128mb"},
	{"redis-memory", func(f *Facts) { f.Redis.Limit, f.Settings.Production = 0, false }, NotApplicable, ""},
	{"redis-memory", func(f *Facts) { f.Redis.Limit = 384 * mib }, OK, ""},
	{"redis-memory", func(f *Facts) { f.Redis.Limit = 385 * mib }, Warn, "maxmemory 256mb"},
	{"persistence", func(f *Facts) { f.Redis.AppendOnly, f.Redis.Snapshots = false, "60 1" }, OK, ""},
	{"persistence", func(f *Facts) { f.Redis.AppendOnly = false }, Warn, "appendonly yes"},
	{"persistence", func(f *Facts) { f.Redis.AppendOnly, f.Redis.Snapshots = false, "?" }, Unknown, "appendonly yes"},
	{"persistence", func(f *Facts) { f.Redis.AppendOnly, f.Settings.Production = false, false }, NotApplicable, ""},
	{"redis-tls", func(f *Facts) { f.Redis.Peer = netip.MustParseAddr("2001:db8::1") }, Fail, "rediss://"},
	{"redis-tls", func(f *Facts) { f.Redis.Peer, f.Redis.Encrypted = netip.MustParseAddr("2001:db8::1"), true }, OK, ""},
	{"redis-clock", func(f *Facts) { f.Redis.Skew = -5 * time.Second }, Fail, "NTP"},

	{"ready", func(f *Facts) { f.Server.Alive = false }, Fail, "health"},
	{"ready", func(f *Facts) { f.Server.Ready, f.Server.Down = false, []string{"database down"} }, Fail, "database down"},
	{"ready", func(f *Facts) { f.Server.Down = []string{"writes down"} }, Warn, "writes down"},
	{"ready", func(f *Facts) { f.Server.Err = "refused" }, NotApplicable, "-url"},
	{"log-rotation", service("redis", func(s *Service) { s.LogSize = "" }), Fail, "max-size"},
	{"logs", func(f *Facts) { f.Settings.LogLevel = "warn" }, OK, ""},
	{"logs", func(f *Facts) { f.Settings.LogLevel = "error" }, Warn, "LOG_LEVEL=info"},
	{"logs", func(f *Facts) { f.Settings.LogLevel = "debug" }, Warn, "LOG_LEVEL=info"},
	{"logs", func(f *Facts) { f.Settings.LogFormat = "text" }, Warn, "LOG_FORMAT=json"},
	{"metrics", func(f *Facts) { f.Settings.Metrics = false }, Warn, "ENABLE_METRICS_COLLECTION=true"},
	{"alerts", func(f *Facts) { f.Settings.Webhook = false }, NotApplicable, "ALERT_WEBHOOK_URL="},
	{"same-version", func(f *Facts) { f.Version = "1.1" }, Warn, "restart"},
	{"same-version", func(f *Facts) { f.Settings.Shown["MAX_WORKERS"] = "1" }, Warn, "another MAX_WORKERS"},
	{"same-version", func(f *Facts) { f.Settings.Shown["MAX_WORKERS"], f.Server.Given = "1", true }, OK, ""},
	{"replicas", func(f *Facts) { f.Replicas = 1 }, NotApplicable, "-replicas"},
}

const shedOne = `{"pool": {"sheds": {"minutes": [{"shed": {"queue_full": 1}}]}}}`

// wrong makes a mistake in a setting.
func wrong(name string) func(*Facts) {
	return func(f *Facts) { f.Settings.Mistakes = []Mistake{{name, name + " is wrong"}} }
}

// runtimeSays changes what /api/runtime answers.
func runtimeSays(text string) func(*Facts) {
	return func(f *Facts) {
		if err := json.Unmarshal([]byte(text), f.Server.Runtime); err != nil {
			panic(err)
		}
	}
}

// service changes one of the compose file's.
func service(name string, change func(*Service)) func(*Facts) {
	return func(f *Facts) {
		i := slices.IndexFunc(f.Compose.Services, func(s Service) bool { return s.Name == name })
		change(&f.Compose.Services[i])
	}
}

func onSQLite(f *Facts) { f.Settings.Postgres, f.Replicas = false, 1 }

// Every row is judged on both sides of its edges, and what is to be mended comes with its fix.
func TestEdges(t *testing.T) {
	seen := map[string]bool{}
	for i, edge := range edges {
		f := good()
		edge.change(&f)
		r := Evaluate(f)
		at := slices.IndexFunc(r.Rows, func(f Finding) bool { return f.ID == edge.row })
		if at < 0 {
			t.Fatalf("there is no row %s", edge.row)
		}
		got := r.Rows[at]
		if got.Verdict != edge.want || !strings.Contains(got.Seen+" "+got.Fix, edge.says) {
			t.Errorf("edge %d, %s: %s, %q, %q, want %s with %q", i, edge.row, got.Verdict, got.Seen, got.Fix, edge.want, edge.says)
		}
		if needed := slices.Contains([]Verdict{Warn, Fail, Unknown}, got.Verdict); needed != (got.Fix != "") {
			t.Errorf("edge %d, %s: %s with the fix %q", i, edge.row, got.Verdict, got.Fix)
		}
		seen[edge.row] = true
	}
	for _, row := range rules {
		if !seen[row.id] {
			t.Errorf("no edge of row %s is tested", row.id)
		}
	}
}

// Of nothing at all a report can be made, too.
func TestNothingKnown(t *testing.T) {
	if r := Evaluate(Facts{}); len(r.Rows) != len(rules) {
		t.Errorf("%d rows, want %d", len(r.Rows), len(rules))
	}
}

// The JSON has these members and no others, and can be read back.
func TestReportJSON(t *testing.T) {
	f := good()
	f.Settings.MaxWorkers = 3
	r := Evaluate(f)
	var text bytes.Buffer
	if err := r.JSON(&text); err != nil {
		t.Fatal(err)
	}
	var loose map[string]any
	if err := json.Unmarshal(text.Bytes(), &loose); err != nil {
		t.Fatal(err)
	}
	members := func(m any) (names []string) {
		for name := range m.(map[string]any) {
			names = append(names, name)
		}
		return sorted(names)
	}
	if got, want := members(loose), []string{"counts", "rows", "verdict", "version"}; !slices.Equal(got, want) {
		t.Errorf("members %q, want %q", got, want)
	}
	for _, row := range loose["rows"].([]any) {
		want := []string{"id", "part", "seen", "title", "verdict"}
		if row.(map[string]any)["id"] == "workers" {
			want = []string{"fix", "id", "part", "seen", "title", "verdict"}
		}
		if got := members(row); !slices.Equal(got, want) {
			t.Errorf("a row's members %q, want %q", got, want)
		}
	}
	var back Report
	err := json.Unmarshal(text.Bytes(), &back)
	if diff := gocmp.Diff(r, back); err != nil || diff != "" {
		t.Errorf("read back: %v, -want +got\n%s", err, diff)
	}
}

// The table has a line for every row, the fix below, and colours only if asked for.
func TestTable(t *testing.T) {
	f := good()
	f.Settings.MaxWorkers = 3
	f.Settings.Warnings = []string{"a\x1b[2Jb\nc\u009b2J\u202e"}
	var plain, coloured strings.Builder
	r := Evaluate(f)
	if err := r.Table(&plain, false); err != nil {
		t.Fatal(err)
	}
	if err := r.Table(&coloured, true); err != nil {
		t.Fatal(err)
	}
	for _, row := range rules {
		if !strings.Contains(plain.String(), "  "+row.id+" ") {
			t.Errorf("no line for %s", row.id)
		}
	}
	if want := "  warn     workers             MAX_WORKERS=3, and there are 2 cores\n                               fix: MAX_WORKERS=2, or unset it\n"; !strings.Contains(plain.String(), want) {
		t.Errorf("no\n%sin\n%s", want, plain.String())
	}
	obeyed := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if strings.ContainsFunc(plain.String(), obeyed) || !strings.Contains(coloured.String(), "\x1b[33mwarn") {
		t.Error("colours where none belong, or none where they do")
	}
}

// A warning passes unless strict is set, a failure never does.
func TestPasses(t *testing.T) {
	for v, want := range map[Verdict][2]bool{NotApplicable: {true, true}, OK: {true, true}, Unknown: {true, false}, Warn: {true, false},
		Fail: {false, false}} {
		if got := [2]bool{v.Passes(false), v.Passes(true)}; got != want {
			t.Errorf("%s passes, and strictly: %v, want %v", v, got, want)
		}
	}
}
