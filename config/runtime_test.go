package config

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"notesd/internal/testkit"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const postgres = "DATABASE_URL=postgres://u@db/notes"

// files are the files of a control group and what they hold.
type files = map[string]string

// What is chosen for a machine of eight cores, with the limits and settings given.
func TestRuntime(t *testing.T) {
	const mib = 1 << 20
	for name, test := range map[string]struct {
		cpus     int // 0: 8
		cgroup   files
		environ  []string
		want     Runtime // cores, quota, shards, workers, connections, passwords, GOMAXPROCS, limit, container's, follows
		warnings []string
	}{
		"nothing set, SQLite": {
			want: Runtime{8, 0, 8, 4, 34, 8, 0, 0, 0, true}},
		"nothing set, PostgreSQL": {environ: []string{postgres},
			want: Runtime{8, 0, 8, 8, 66, 8, 0, 0, 0, true}},
		"two cores by affinity": {cpus: 2, environ: []string{postgres},
			want: Runtime{2, 0, 2, 8, 18, 2, 0, 0, 0, true}},
		"sixteen cores share 64 workers": {cpus: 16, environ: []string{postgres},
			want: Runtime{16, 0, 16, 4, 66, 16, 0, 0, 0, true}},
		"a worker a shard at least": {cpus: 96, environ: []string{postgres},
			want: Runtime{96, 0, 96, 1, 98, 96, 0, 0, 0, true}},
		"quota": {cgroup: files{"cpu.max": "250000 100000"},
			want: Runtime{3, 2.5, 3, 4, 14, 3, 0, 0, 0, true}},
		"quota below one core": {cgroup: files{"cpu.max": "10000 100000"},
			want: Runtime{1, 0.1, 1, 4, 6, 1, 0, 0, 0, true}},
		"quota above the cores": {cpus: 1, cgroup: files{"cpu.max": "400000 100000"},
			want: Runtime{1, 4, 1, 4, 6, 1, 0, 0, 0, true}},
		"MAX_WORKERS leaves a core": {environ: []string{"MAX_WORKERS=7"},
			want: Runtime{8, 0, 7, 4, 30, 7, 7, 0, 0, false}},
		"MAX_WORKERS is every core": {environ: []string{"MAX_WORKERS=8"},
			want: Runtime{8, 0, 8, 4, 34, 8, 8, 0, 0, false}},
		"MAX_WORKERS capped": {environ: []string{"MAX_WORKERS=9"},
			want:     Runtime{8, 0, 8, 4, 34, 8, 8, 0, 0, false},
			warnings: []string{"MAX_WORKERS=9 is above the 8 cores available: using 8"}},
		"MAX_WORKERS capped by quota": {cgroup: files{"cpu.max": "100000 100000"}, environ: []string{"MAX_WORKERS=4"},
			want:     Runtime{1, 1, 1, 4, 6, 1, 1, 0, 0, false},
			warnings: []string{"MAX_WORKERS=4 is above the 1 core available: using 1"}},
		"GOMAXPROCS": {environ: []string{"GOMAXPROCS=2"},
			want: Runtime{8, 0, 2, 4, 10, 2, 2, 0, 0, false}},
		"GOMAXPROCS above the cores": {environ: []string{"GOMAXPROCS=12"},
			want: Runtime{8, 0, 8, 4, 34, 8, 12, 0, 0, false}},
		"GOMAXPROCS and MAX_WORKERS": {environ: []string{"GOMAXPROCS=6", "MAX_WORKERS=3"},
			want: Runtime{8, 0, 3, 4, 14, 3, 6, 0, 0, false}},
		"single": {environ: []string{"CLUSTER_MODE=false"},
			want: Runtime{8, 0, 1, 4, 6, 1, 1, 0, 0, false}},
		"single, with numbers": {environ: []string{"CLUSTER_MODE=0", "MAX_WORKERS=4", "GOMAXPROCS=2"},
			want: Runtime{8, 0, 1, 4, 6, 1, 1, 0, 0, false},
			warnings: []string{
				"MAX_WORKERS=4 has no effect: CLUSTER_MODE=false means one shard on one core",
				"GOMAXPROCS=2 has no effect: CLUSTER_MODE=false means one shard on one core",
			}},
		"workers decide connections": {environ: []string{"WORKERS_PER_SHARD=20", postgres},
			want: Runtime{8, 0, 8, 20, 162, 8, 0, 0, 0, true}},
		"connections decide workers": {environ: []string{"DATABASE_MAX_CONNS=33", postgres},
			want: Runtime{8, 0, 8, 3, 33, 8, 0, 0, 0, true}},
		"fewest connections": {environ: []string{"DATABASE_MAX_CONNS=10", postgres},
			want: Runtime{8, 0, 8, 1, 10, 8, 0, 0, 0, true}},
		"both just fit": {environ: []string{"WORKERS_PER_SHARD=4", "DATABASE_MAX_CONNS=34"},
			want: Runtime{8, 0, 8, 4, 34, 8, 0, 0, 0, true}},
		"memory of the container": {cgroup: files{"memory.max": "536870912"},
			want: Runtime{8, 0, 8, 4, 34, 6, 0, 483183820, 512 * mib, true}},
		"small container": {cgroup: files{"memory.max": "67108864", "cpu.max": "100000 100000"},
			want: Runtime{1, 1, 1, 4, 6, 1, 0, 60397977, 64 * mib, true}},
		"small container, many cores": {cgroup: files{"memory.max": "67108864"},
			want: Runtime{8, 0, 8, 4, 34, 1, 0, 60397977, 64 * mib, true}},
		"GOMEMLIMIT": {cgroup: files{"memory.max": "536870912"}, environ: []string{"GOMEMLIMIT=256MiB"},
			want: Runtime{8, 0, 8, 4, 34, 3, 0, 256 * mib, 512 * mib, true}},
		"GOMEMLIMIT off": {cgroup: files{"memory.max": "536870912"}, environ: []string{"GOMEMLIMIT=off"},
			want: Runtime{8, 0, 8, 4, 34, 6, 0, 0, 512 * mib, true}},
		"MAX_OLD_SPACE_SIZE": {environ: []string{"MAX_OLD_SPACE_SIZE=1024"},
			want: Runtime{8, 0, 8, 4, 34, 8, 0, 1024 * mib, 0, true}},
		"limits that agree": {environ: []string{"MAX_OLD_SPACE_SIZE=1024", "GOMEMLIMIT=1GiB"},
			want: Runtime{8, 0, 8, 4, 34, 8, 0, 1024 * mib, 0, true}},
		"limits that differ": {environ: []string{"MAX_OLD_SPACE_SIZE=512", "GOMEMLIMIT=1GiB"},
			want:     Runtime{8, 0, 8, 4, 34, 8, 0, 1024 * mib, 0, true},
			warnings: []string{"MAX_OLD_SPACE_SIZE=512 has no effect: GOMEMLIMIT=1024MiB wins"}},
		"limit just the container's": {cgroup: files{"memory.max": "536870912"}, environ: []string{"GOMEMLIMIT=512MiB"},
			want: Runtime{8, 0, 8, 4, 34, 6, 0, 512 * mib, 512 * mib, true}},
		"limit above the container's": {cgroup: files{"memory.max": "536870912"}, environ: []string{"MAX_OLD_SPACE_SIZE=513"},
			want:     Runtime{8, 0, 8, 4, 34, 6, 0, 513 * mib, 512 * mib, true},
			warnings: []string{"the memory limit of 513MiB is above the 512MiB that the container has"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := fourCores(t)
			m.cpus = 8
			if test.cpus > 0 {
				m.cpus = test.cpus
			}
			m.root = v2(test.cgroup)
			c, err := load(test.environ, m)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, c.Runtime); diff != "" {
				t.Errorf("Runtime: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(test.warnings, c.Warnings); diff != "" {
				t.Errorf("Warnings: -want +got\n%s", diff)
			}
		})
	}
}

func TestWorkersAndConnectionsDisagree(t *testing.T) {
	for want, environ := range map[string][]string{
		"DATABASE_MAX_CONNS=17 is too few for WORKERS_PER_SHARD=4: 4 shards and 2 in reserve make 18": {
			"WORKERS_PER_SHARD=4", "DATABASE_MAX_CONNS=17"},
		"DATABASE_MAX_CONNS=5 is too few: with a worker for each of 4 shards and 2 in reserve the least is 6 " +
			"(or set a lower MAX_WORKERS)": {"DATABASE_MAX_CONNS=5"},
		"DATABASE_MAX_CONNS=4 is too few for WORKERS_PER_SHARD=3: 1 shard and 2 in reserve make 5": {
			"CLUSTER_MODE=false", "WORKERS_PER_SHARD=3", "DATABASE_MAX_CONNS=4"},
	} {
		if _, err := load(environ, fourCores(t)); fmt.Sprint(err) != want {
			t.Errorf("Load(%q) = %v\nwant %s", environ, err, want)
		}
	}
}

func TestMemoryThreshold(t *testing.T) {
	for _, test := range []struct {
		cgroup, environ string
		want            int64
		warning         string
	}{
		{"max", "", 512 << 20, ""},
		{"1073741824", "", 512 << 20, ""},
		{"67108864", "", 51338280, ""}, // 85 % of 90 %
		{"67108864", "GOMEMLIMIT=off", 57042534, ""},
		{"67108864", "MEMORY_THRESHOLD_MB=48", 48 << 20, ""},
		{"67108864", "MEMORY_THRESHOLD_MB=49", 51338280, "MEMORY_THRESHOLD_MB=49 is above 85 % of the memory limit: using 48"},
		{"max", "MAX_OLD_SPACE_SIZE=100", 85 << 20, ""},
		{"max", "MEMORY_THRESHOLD_MB=4096", 4 << 30, ""},
	} {
		m := fourCores(t)
		m.root = v2(files{"memory.max": test.cgroup})
		c, err := load([]string{test.environ}, m)
		if err != nil || c.MemoryThreshold != test.want || strings.Join(c.Warnings, "\n") != test.warning {
			t.Errorf("container of %s, %s: threshold %d, warnings %q, %v; want %d, %q",
				test.cgroup, test.environ, c.MemoryThreshold, c.Warnings, err, test.want, test.warning)
		}
	}
}

// Whatever the machine and the settings, what is chosen fits together.
func TestRuntimeFits(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		set := func(name string, minimum, maximum int) string {
			if rapid.Bool().Draw(t, name+" set") {
				return fmt.Sprintf("%s=%d", name, rapid.IntRange(minimum, maximum).Draw(t, name))
			}
			return name + "="
		}
		m := machine{
			cpus: rapid.IntRange(1, 300).Draw(t, "cpus"), procs: 1, dir: dir,
			root: v2(files{
				"cpu.max":    fmt.Sprint(rapid.IntRange(1, 1e8).Draw(t, "quota"), " 100000"),
				"memory.max": fmt.Sprint(rapid.Int64Range(1<<20, 1<<40).Draw(t, "memory")),
			}),
		}
		c, err := load([]string{
			rapid.SampledFrom([]string{"", postgres}).Draw(t, "engine"),
			rapid.SampledFrom([]string{"CLUSTER_MODE=true", "CLUSTER_MODE=false"}).Draw(t, "cluster"),
			set("MAX_WORKERS", 1, 400), set("GOMAXPROCS", 1, 400), set("WORKERS_PER_SHARD", 1, 50),
			set("DATABASE_MAX_CONNS", 3, 500), set("MAX_OLD_SPACE_SIZE", 16, 1<<20), set("MEMORY_THRESHOLD_MB", 1, 1<<20),
		}, m)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "DATABASE_MAX_CONNS=") {
				t.Fatal(err)
			}
			return
		}
		r := c.Runtime
		if r.Cores < 1 || r.Cores > m.cpus || float64(r.Cores) >= r.Quota+1 {
			t.Errorf("%d cores of %d with a quota of %v", r.Cores, m.cpus, r.Quota)
		}
		if r.Shards < 1 || r.Shards > r.Cores {
			t.Errorf("%d shards on %d cores", r.Shards, r.Cores)
		}
		if r.WorkersPerShard < 1 || r.Shards*r.WorkersPerShard+reserve > r.DatabaseMaxConns {
			t.Errorf("%d shards of %d workers, %d connections", r.Shards, r.WorkersPerShard, r.DatabaseMaxConns)
		}
		if r.PasswordWorkers < 1 || r.PasswordWorkers > r.Shards {
			t.Errorf("%d password workers on %d shards", r.PasswordWorkers, r.Shards)
		}
		bound := tighter(r.MemoryLimit, r.CgroupMemory)
		if int64(r.PasswordWorkers-1)*hashMemory > bound/4 || c.MemoryThreshold > bound*85/100 {
			t.Errorf("%d password workers, threshold %d, limit %d", r.PasswordWorkers, c.MemoryThreshold, bound)
		}
	})
}

func TestApply(t *testing.T) {
	limit := debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetMemoryLimit(limit)
		runtime.SetDefaultGOMAXPROCS()
	})
	procs := runtime.GOMAXPROCS(0)

	Runtime{}.Apply() // asks for nothing
	if got := debug.SetMemoryLimit(-1); got != limit || runtime.GOMAXPROCS(0) != procs {
		t.Errorf("after Apply() of nothing: limit %d, GOMAXPROCS %d; want %d, %d", got, runtime.GOMAXPROCS(0), limit, procs)
	}
	Runtime{MemoryLimit: 1 << 40, GOMAXPROCS: procs + 1}.Apply()
	if got := debug.SetMemoryLimit(-1); got != 1<<40 || runtime.GOMAXPROCS(0) != procs+1 {
		t.Errorf("after Apply(): limit %d, GOMAXPROCS %d; want %d, %d", got, runtime.GOMAXPROCS(0), 1<<40, procs+1)
	}
}

// Go reads the quota of its own group only. A parent's that is tighter sets
// GOMAXPROCS by the same rule, and only while no setting asks for a number.
func TestParentQuota(t *testing.T) {
	const dir, dir1 = "sys/fs/c group/user.slice", "sys/fs/cgroup/cpu,cpuacct"
	for name, test := range map[string]struct {
		root    fstest.MapFS
		environ []string
		shards  int
		procs   int // 0: left to Go
		shown   string
	}{
		"no quota":       {tree(dir, slice), nil, 8, 0, "8 default"},
		"own":            {tree(dir, slice, files{"app.slice/notes.service/cpu.max": "300000 100000"}), nil, 3, 0, "8 default"},
		"parent":         {tree(dir, slice, files{"app.slice/cpu.max": "300000 100000"}), nil, 3, 3, "3 cgroup"},
		"grandparent":    {tree(dir, slice, files{"cpu.max": "250000 100000"}), nil, 3, 3, "3 cgroup"},
		"less than one":  {tree(dir, slice, files{"cpu.max": "50000 100000"}), nil, 1, 2, "2 cgroup"},
		"above cores":    {tree(dir, slice, files{"cpu.max": "900000 100000"}), nil, 8, 0, "8 default"},
		"as tight":       {tree(dir, slice, files{"app.slice/notes.service/cpu.max": "200000 100000", "cpu.max": "150000 100000"}), nil, 2, 0, "8 default"},
		"tighter":        {tree(dir, slice, files{"app.slice/notes.service/cpu.max": "500000 100000", "cpu.max": "300000 100000"}), nil, 3, 3, "3 cgroup"},
		"MAX_WORKERS":    {tree(dir, slice, files{"cpu.max": "300000 100000"}), []string{"MAX_WORKERS=2"}, 2, 2, "2 derived"},
		"GOMAXPROCS":     {tree(dir, slice, files{"cpu.max": "300000 100000"}), []string{"GOMAXPROCS=5"}, 3, 5, "5 environment"},
		"CLUSTER_MODE":   {tree(dir, slice, files{"cpu.max": "300000 100000"}), []string{"CLUSTER_MODE=false"}, 1, 1, "1 derived"},
		"version 1":      {tree(dir1, slice1, files{"box/cpu.cfs_quota_us": "300000", "box/cpu.cfs_period_us": "100000"}), nil, 3, 3, "3 cgroup"},
		"version 1, own": {tree(dir1, slice1, files{"box/notes/cpu.cfs_quota_us": "300000", "box/notes/cpu.cfs_period_us": "100000"}), nil, 3, 0, "8 default"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := load(test.environ, machine{cpus: 8, procs: 8, root: test.root, dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			shown := ""
			for _, s := range c.Settings() {
				if s.Name == "GOMAXPROCS" {
					shown = s.Value + " " + s.Source
				}
			}
			if c.Runtime.Shards != test.shards || c.Runtime.GOMAXPROCS != test.procs || shown != test.shown {
				t.Errorf("%d shards, GOMAXPROCS %d, shown as %s; want %d, %d, %s",
					c.Runtime.Shards, c.Runtime.GOMAXPROCS, shown, test.shards, test.procs, test.shown)
			}
		})
	}
}

// While it runs, the process follows a parent's quota that comes, changes and
// goes, and tells once of a memory limit that has changed.
func TestFollow(t *testing.T) {
	const dir = "sys/fs/c group/user.slice"
	quota := func(text string) fstest.MapFS { return tree(dir, slice, files{"cpu.max": text + " 100000"}) }
	t.Cleanup(runtime.SetDefaultGOMAXPROCS)
	synctest.Test(t, func(t *testing.T) {
		runtime.SetDefaultGOMAXPROCS()
		byGo := runtime.GOMAXPROCS(0)
		m := machine{cpus: 64, procs: byGo, root: quota("max"), dir: t.TempDir()}
		c, err := load(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		log := &testkit.LogBuffer{}
		root := &changingFS{}
		root.now.Store(&m.root)
		m.root = root
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			c.Runtime.follow(ctx, slog.New(slog.NewTextHandler(log, nil)), m)
			close(done)
		}()
		for _, step := range []struct {
			quota string
			want  int
		}{{"max", byGo}, {"5000000", 50}, {"5000000", 50}, {"4850000", 49}, {"max", byGo}, {"6000000", 60}} {
			fsys := fs.FS(quota(step.quota))
			root.now.Store(&fsys)
			time.Sleep(followEvery)
			synctest.Wait()
			if got := runtime.GOMAXPROCS(0); got != step.want {
				t.Errorf("GOMAXPROCS is %d with a quota of %s, want %d", got, step.quota, step.want)
			}
		}
		if said := log.Take(); said != "" {
			t.Errorf("logged %s", said)
		}
		for _, step := range []struct{ limit, want string }{
			{"max", ""},
			{"536870912", "before=off now=512MiB"},
			{"536870912", ""},
			{"268435456", "before=512MiB now=256MiB"},
			{"max", "before=256MiB now=off"},
		} {
			fsys := fs.FS(tree(dir, slice, files{"memory.max": step.limit}))
			root.now.Store(&fsys)
			time.Sleep(followEvery)
			synctest.Wait()
			if said := log.Take(); !strings.Contains(said, step.want) || step.want == "" && said != "" {
				t.Errorf("a limit of %s logged %q, want %q", step.limit, said, step.want)
			}
		}
		stop()
		<-done
	})
}

// changingFS is a file system that another can take the place of.
type changingFS struct{ now atomic.Pointer[fs.FS] }

func (c *changingFS) Open(name string) (fs.File, error) { return (*c.now.Load()).Open(name) }

func TestPercent(t *testing.T) {
	for _, test := range []struct{ n, p, want int64 }{
		{0, 90, 0}, {1, 90, 0}, {99, 90, 89}, {100, 90, 90}, {1 << 60, 100, 1 << 60}, {math.MaxInt64, 1, math.MaxInt64 / 100},
	} {
		if got := percent(test.n, test.p); got != test.want {
			t.Errorf("percent(%d, %d) = %d, want %d", test.n, test.p, got, test.want)
		}
	}
}

// The pool takes no more workers a shard than the setting does.
func TestMostWorkersPerShard(t *testing.T) {
	cfg, err := load([]string{"MAX_WORKERS=1", "DATABASE_MAX_CONNS=1000"}, fourCores(t))
	if err != nil || cfg.Runtime.WorkersPerShard != 64 {
		t.Errorf("WorkersPerShard = %d (%v), want 64 of 1000 connections", cfg.Runtime.WorkersPerShard, err)
	}
}
