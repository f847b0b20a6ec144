package check

import (
	"net/netip"
	"time"
)

// Facts are what there is to judge. What is nil was not looked at.
type Facts struct {
	Version  string // of this binary
	Settings Settings
	Machine  Machine
	Files    Files
	Replicas int // that share the database
	Database *Database
	Redis    *Redis
	Server   *Server
	Compose  *Compose
}

// Settings are those in force, with the mistakes in them.
type Settings struct {
	Mistakes []Mistake
	Warnings []string

	Production bool
	Host       string // "": all addresses
	DataDir    string
	LogLevel   string
	LogFormat  string

	MaxWorkers       int // as asked for; 0: not
	Shards           int
	WorkersPerShard  int
	DatabaseMaxConns int
	GOMAXPROCS       int // 0: left to Go
	QueueLength      int
	Cores            int   // in use
	HeapLimit        int64 // 0: none
	CgroupMemory     int64 // 0: no limit
	CacheSize        int64
	BodyLimit        int64
	MemoryMonitoring bool
	Metrics          bool
	Webhook          bool
	ShutdownDelay    time.Duration
	ShutdownTimeout  time.Duration

	Postgres, Redis  bool
	SessionSecret    Secret
	AdminToken       Secret
	DatabasePassword Secret
	RedisPassword    Secret
	SameSecret       bool // two of them are the same

	CORSOrigins    []string
	OtherSites     []string // those of CORSOrigins that are of another site than the server that -url names
	TrustedProxies []netip.Prefix

	Shown map[string]string // every one, secrets redacted
}

// A Mistake is a setting that can't be taken as it is set.
type Mistake struct{ Name, Text string }

// A Secret is what may be said of a secret.
type Secret string

const (
	None   Secret = "none"
	Weak   Secret = "weak" // short, or a placeholder
	Strong Secret = "strong"
)

// Machine is what the process has.
type Machine struct {
	Cores       int   // that it may run on
	Memory      int64 // 0: not known
	OpenFiles   uint64
	Overcommit  int    // of Linux; 2: memory must be there when it is asked for
	HugePages   string // always, madvise, never; "": not known
	HugeMost    int    // max_ptes_none: how much of a huge page may be made up
	Root        bool   // it is root
	DiskFree    int64  // where DATA_DIR is; 0: not known
	FileSystem  string // its kind, where DATA_DIR is
	InContainer bool
}

// Files are what lies about.
type Files struct {
	Open      []string // secrets' files that others can read
	Committed []string // FILE: NAME of secrets that git has
	Git       bool     // there is a repository to look at
}

// Database is what the database says. Err: it could not be asked.
type Database struct {
	Err             string
	Engine, Version string
	Missing         bool
	Schema, Newest  int64
	Misfit          string
	Latency, Skew   time.Duration

	MaxConnections, Reserved, ConnLimit, OthersConnected   int
	SharedBuffers, EffectiveCache, WorkMem, MaintenanceMem int64
	Fsync, FullPageWrites                                  bool
	SynchronousCommit                                      string
	Peer                                                   netip.Addr
	Encrypted, Verified, Heard                             bool
	JournalMode                                            string
}

// Redis is what Redis says. Err: it could not be asked.
type Redis struct {
	Err           string
	Refuses       string // why it takes no sessions; "": it does
	Version       string
	Policy        string
	Memory, Limit int64
	AppendOnly    bool
	Snapshots     string // save; "?": it won't say
	Peer          netip.Addr
	Encrypted     bool
	Latency, Skew time.Duration
}

// Server is the running server. Err: none answered.
type Server struct {
	URL        string
	Err        string
	Alive      bool
	Ready      bool
	Down       []string // dependencies
	RuntimeErr string   // why there is no Runtime
	Runtime    *Runtime
	CPU        float64 // seconds since the start; 0: not known
	Recent     *Recent // what happened while we looked
	Given      bool    // the address was given: it may be another machine's
}

// Recent is the change over a while.
type Recent struct {
	Over     time.Duration
	CPU      float64 // seconds
	Requests uint64
	Waits    int64 // for a database connection
}
