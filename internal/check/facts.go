package check

import (
	"net/netip"
	"time"
)

// Facts are what Evaluate works on. A nil field was not looked at.
type Facts struct {
	Version  string // the version of this binary
	Settings Settings
	Machine  Machine
	Files    Files
	Replicas int // the number of replicas that share the database
	Database *Database
	Redis    *Redis
	Server   *Server
	Compose  *Compose
}

// Settings are the settings in force, with the mistakes in them.
type Settings struct {
	Mistakes []Mistake
	Warnings []string

	Production bool
	Host       string // "": all addresses
	DataDir    string
	LogLevel   string
	LogFormat  string

	MaxWorkers       int // as set; 0: not set
	Shards           int
	WorkersPerShard  int
	DatabaseMaxConns int
	GOMAXPROCS       int // 0: left to Go
	QueueLength      int
	Cores            int   // cores in use
	HeapLimit        int64 // bytes; 0: none
	CgroupMemory     int64 // bytes; 0: no limit
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
	SameSecret       bool // two of the secrets are the same

	CORSOrigins    []string
	OtherSites     []string // the CORSOrigins on another site than the server that -url names
	TrustedProxies []netip.Prefix

	Shown map[string]string // every setting, with secrets redacted
}

// A Mistake is a setting whose value can't be used.
type Mistake struct{ Name, Text string }

// A Secret is what may be disclosed about a secret.
type Secret string

const (
	None   Secret = "none"
	Weak   Secret = "weak" // too short, or a placeholder
	Strong Secret = "strong"
)

// Machine describes the machine and what the process may use of it.
type Machine struct {
	Cores       int   // cores that the process may run on
	Memory      int64 // bytes; 0: not known
	OpenFiles   uint64
	Overcommit  int    // Linux's setting; 2: memory must be available when it is allocated
	HugePages   string // always, madvise, never; "": not known
	HugeMost    int    // max_ptes_none: how many small pages of a huge page may be missing
	Root        bool   // the process runs as root
	DiskFree    int64  // bytes where DATA_DIR is; 0: not known
	FileSystem  string // the type of the file system where DATA_DIR is
	InContainer bool
}

// Files describes files that hold secrets.
type Files struct {
	Open      []string // files with secrets that other users can read
	Committed []string // FILE: NAME of secrets that are in git
	Git       bool     // there is a repository to look at
}

// Database is what was learned from the database. If Err is set, the database could not be asked.
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
	NoteBytes, HistoryBytes                                int64

	// These count the secrets of one-time codes that need another SESSION_SECRET than the first: one
	// that is listed, or one that is not.
	OlderTOTP, LostTOTP int64
}

// Redis is what was learned from Redis. If Err is set, Redis could not be asked.
type Redis struct {
	Err           string
	Refuses       string // why Redis refuses sessions; "": it accepts them
	Version       string
	Policy        string
	Memory, Limit int64
	AppendOnly    bool
	Snapshots     string // the setting save; "?": Redis does not show it
	Peer          netip.Addr
	Encrypted     bool
	Latency, Skew time.Duration
}

// Server is what was learned from the running server. If Err is set, no server answered.
type Server struct {
	URL        string
	Err        string
	Alive      bool
	Ready      bool
	Down       []string // dependencies that are down
	RuntimeErr string   // why there is no Runtime
	Runtime    *Runtime
	CPU        float64 // seconds of CPU time since the start; 0: not known
	Recent     *Recent // what happened during the measurement
	Given      bool    // the address was given, so it may be that of another machine
}

// Recent is the change during the measurement.
type Recent struct {
	Over     time.Duration
	CPU      float64 // seconds of CPU time
	Requests uint64
	Waits    int64 // waits for a database connection
}
