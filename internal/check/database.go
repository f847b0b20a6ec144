package check

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// noDatabase says why the database is not judged. It returns nil if the database answers.
func (f Facts) noDatabase() *opinion {
	if f.Database == nil || f.Database.Err != "" || f.Database.Missing {
		return new(notApplicable("the database was not asked"))
	}
	return nil
}

// noPostgres is noDatabase for rules that apply to PostgreSQL alone.
func (f Facts) noPostgres() *opinion {
	if o := f.noDatabase(); o != nil {
		return o
	}
	if f.Database.Engine != "PostgreSQL" {
		return new(notApplicable("%s", f.Database.Engine))
	}
	return nil
}

func databaseAnswers(f Facts) opinion {
	const far = 20 * time.Millisecond
	switch db := f.Database; {
	case db == nil:
		return notApplicable("DATABASE_URL has a mistake")
	case db.Err != "":
		return fail("DATABASE_URL, DATABASE_PASSWORD", "%s", db.Err)
	case db.Missing:
		return notApplicable("there is no file yet: notesd makes it")
	case db.Latency > far:
		return warn("a database that is nearer (DATABASE_URL)", "%s %s answers in %v", db.Engine, db.Version,
			db.Latency.Round(time.Millisecond/10))
	default:
		return ok("%s %s answers within %v", db.Engine, db.Version, far)
	}
}

func databaseVersion(f Facts) opinion {
	if o := f.noPostgres(); o != nil {
		return *o
	}
	const least = 15 // the oldest version that notesd is tested with
	text := f.Database.Version
	major, err := strconv.Atoi(text[:len(text)-len(strings.TrimLeft(text, "0123456789"))])
	if err != nil || major < least {
		return warn(fmt.Sprintf("PostgreSQL %d or newer", least),
			"PostgreSQL %s, older than any that notesd is tested with", text)
	}
	return ok("PostgreSQL %s", text)
}

func schema(f Facts) opinion {
	if o := f.noDatabase(); o != nil {
		return *o
	}
	switch db := f.Database; {
	case db.Misfit != "":
		return fail("a newer notesd, or notesd migrate", "%s", db.Misfit)
	case db.Schema < db.Newest:
		return fail("notesd migrate (serving does it, too, at its start)", "schema %d is old: this binary has %d",
			db.Schema, db.Newest)
	case db.Schema > db.Newest:
		return warn("the newer notesd everywhere", "schema %d is newer than this binary's %d, which it still serves",
			db.Schema, db.Newest)
	default:
		return ok("schema %d, the newest; notes take %s, their history %s", db.Schema, size(db.NoteBytes),
			size(db.HistoryBytes))
	}
}

// besideWorkers are the connections of a replica that DATABASE_MAX_CONNS does not count: the health
// monitor's and a listener's.
const besideWorkers = 2

func connections(f Facts) opinion {
	if o, found := f.mistakes(f.enoughConns(), connSettings...); found {
		return o
	}
	if o := f.noPostgres(); o != nil {
		return *o
	}
	db := f.Database
	allowed := db.MaxConnections - db.Reserved
	if db.ConnLimit >= 0 {
		allowed = min(allowed, db.ConnLimit)
	}
	needed := f.Replicas * (f.Settings.DatabaseMaxConns + besideWorkers)
	seen := fmt.Sprintf("%s with %d connections each make %d, of %d that PostgreSQL has for them",
		count(f.Replicas, "replica"),
		f.Settings.DatabaseMaxConns+besideWorkers, needed, allowed)
	fix := fmt.Sprintf("max_connections=%d, or DATABASE_MAX_CONNS=%d",
		roundUp(int64(needed+db.Reserved+db.OthersConnected), 10),
		max(3, (allowed-db.OthersConnected)/max(1, f.Replicas)-besideWorkers))
	switch {
	case needed > allowed:
		return fail(fix, "too few: %s", seen)
	case needed+db.OthersConnected > allowed:
		return warn(fix, "%s, and others use %d now", seen, db.OthersConnected)
	}
	return ok("%s", seen)
}

// enoughConns returns the number of connections that every worker needs.
func (f Facts) enoughConns() string {
	s := f.Settings
	each := s.WorkersPerShard
	if each <= 0 {
		each = 8
	}
	return fmt.Sprintf("DATABASE_MAX_CONNS=%d, or unset it", max(1, s.Shards)*each+2)
}

func postgresMemory(f Facts) opinion {
	if o := f.noPostgres(); o != nil {
		return *o
	}
	const least = 128 * mib
	db := f.Database
	if db.SharedBuffers < least {
		return warn("shared_buffers=128MB, a quarter of PostgreSQL's memory", "shared_buffers is %s",
			size(db.SharedBuffers))
	}
	if db.EffectiveCache < db.SharedBuffers {
		return warn(fmt.Sprintf("effective_cache_size=%dMB", db.SharedBuffers*2/mib),
			"effective_cache_size, %s, is less than shared_buffers, %s",
			size(db.EffectiveCache), size(db.SharedBuffers))
	}
	if f.Compose == nil {
		return ok("shared_buffers %s, effective_cache_size %s", size(db.SharedBuffers), size(db.EffectiveCache))
	}
	most := db.SharedBuffers + db.MaintenanceMem + int64(f.Replicas*f.Settings.DatabaseMaxConns)*db.WorkMem
	for _, s := range f.Compose.of("postgres") {
		if s.Memory > 0 && most > s.Memory {
			return warn(fmt.Sprintf("memory: %dM for %s, or shared_buffers=%dMB", roundUp(most*5/4/mib, 64), s.Name,
				s.Memory/4/mib),
				"shared_buffers, maintenance_work_mem and work_mem for every connection make %s, and %s has %s",
				size(most), s.Name, size(s.Memory))
		}
		if s.Memory > 0 && db.EffectiveCache > s.Memory {
			return warn(fmt.Sprintf("effective_cache_size=%dMB", s.Memory/8*5/mib),
				"effective_cache_size is %s, and %s has %s",
				size(db.EffectiveCache), s.Name, size(s.Memory))
		}
	}
	return ok("at most %s for its buffers and our connections", size(most))
}

func durability(f Facts) opinion {
	if o := f.noDatabase(); o != nil {
		return *o
	}
	db := f.Database
	if db.Engine != "PostgreSQL" {
		if db.JournalMode != "wal" {
			return warn("start notesd once: it sets journal_mode=WAL", "journal mode %s", db.JournalMode)
		}
		return ok("journal mode %s", db.JournalMode)
	}
	var off []string
	settings := map[string]bool{"fsync": db.Fsync, "full_page_writes": db.FullPageWrites,
		"synchronous_commit": db.SynchronousCommit != "off"}
	for name, on := range settings {
		if !on {
			off = append(off, name)
		}
	}
	if len(off) > 0 {
		names := sorted(off)
		return fail(strings.Join(names, "=on, ")+"=on", "off: %s; notes that were acknowledged may be lost",
			strings.Join(names, ", "))
	}
	return ok("fsync, full_page_writes and synchronous_commit are on")
}

// far reports whether a server is outside of the machine and its private networks.
func far(peer netip.Addr) bool {
	return peer.IsValid() && !peer.IsLoopback() && !peer.IsPrivate() && !peer.IsLinkLocalUnicast()
}

func databaseTLS(f Facts) opinion {
	if o := f.noPostgres(); o != nil {
		return *o
	}
	switch db := f.Database; {
	case !far(db.Peer):
		return ok("on this machine or a private network")
	case !db.Encrypted:
		return fail("sslmode=verify-full in DATABASE_URL", "the connection to %s is not encrypted", db.Peer)
	case !db.Verified:
		return warn("sslmode=verify-full in DATABASE_URL", "the certificate of %s is not checked", db.Peer)
	default:
		return ok("the connection to %s is encrypted and its certificate checked", db.Peer)
	}
}

func notifications(f Facts) opinion {
	if o := f.noPostgres(); o != nil {
		return *o
	}
	if !f.Database.Heard {
		return warn("DATABASE_CHANNEL_URL=postgres://… past the pooler",
			"a notification did not come through: a pooler in transaction mode stands between")
	}
	return ok("notifications come through")
}

// skewed judges how far a clock is from ours. Up to half of the latency may be the network's.
func skewed(whose string, skew, latency time.Duration) opinion {
	const much, tooMuch = time.Second, 5 * time.Second
	sure := max(0, skew.Abs()-latency/2)
	seen := fmt.Sprintf("%s clock is %v from ours", whose, skew.Abs().Round(10*time.Millisecond))
	switch {
	case sure >= tooMuch:
		return fail("run an NTP client (chrony, systemd-timesyncd) on both machines", "%s", seen)
	case sure >= much:
		return warn("run an NTP client (chrony, systemd-timesyncd) on both machines", "%s", seen)
	}
	return ok("%s clock is ours, within %v", whose, much)
}

func databaseClock(f Facts) opinion {
	if o := f.noPostgres(); o != nil {
		return *o
	}
	return skewed("the database's", f.Database.Skew, f.Database.Latency)
}

func disk(f Facts) opinion {
	const least, good = 256 * mib, 1024 * mib
	const fix = "a larger volume for DATA_DIR"
	switch n := f.Machine.DiskFree; {
	case n == 0:
		return unknown(fix, "the free space of %s is not known", f.Settings.DataDir)
	case n < least:
		return fail(fix, "%s free in %s", size(n), f.Settings.DataDir)
	case n < good:
		return warn(fix, "%s free in %s", size(n), f.Settings.DataDir)
	default:
		return ok("more than %s free in %s", size(good), f.Settings.DataDir)
	}
}

func fileSystem(f Facts) opinion {
	if f.Settings.Postgres {
		return notApplicable("PostgreSQL")
	}
	kind := f.Machine.FileSystem
	for _, remote := range []string{"nfs", "cifs", "smb", "fuse", "9p", "ceph", "gluster"} {
		if strings.HasPrefix(kind, remote) && kind != "fuseblk" && kind != "fuse.fuse-overlayfs" {
			return fail("DATA_DIR on a local disk, or PostgreSQL in DATABASE_URL",
				"%s is on %s, whose locks SQLite can't rely on", f.Settings.DataDir, kind)
		}
	}
	if f.Replicas > 1 {
		return fail("DATABASE_URL=postgres://…", "%d replicas can't share a SQLite file", f.Replicas)
	}
	if kind == "" {
		return unknown("DATA_DIR on a local disk", "the kind of file system is not known")
	}
	return ok("%s is on %s", f.Settings.DataDir, kind)
}

func loadConnections(f Facts) opinion {
	if o := f.running(); o != nil {
		return *o
	}
	r := f.Server.Runtime
	waits, of := r.waits(), r.Pool.Done
	if recent := f.Server.Recent; recent != nil && recent.Requests >= 100 {
		waits, of = recent.Waits, recent.Requests
	}
	if waits > 0 && uint64(waits) > of/1000 {
		return warn(f.enoughConns(), "queries waited for a connection %s, in %s", count(waits, "time"),
			count(of, "request"))
	}
	return ok("queries waited for a connection %s, in %s", count(waits, "time"), count(of, "request"))
}
