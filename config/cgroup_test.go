package config

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// tree lays out files; what begins with proc or sys stands there, everything else in dir.
func tree(dir string, lists ...files) fstest.MapFS {
	fsys := fstest.MapFS{}
	for _, list := range lists {
		for name, text := range list {
			if !strings.HasPrefix(name, "proc/") && !strings.HasPrefix(name, "sys/") {
				name = dir + "/" + name
			}
			fsys[name] = &fstest.MapFile{Data: []byte(text + "\n")}
		}
	}
	return fsys
}

// v2 is a container with its own view of version 2: its group is the root of what it sees.
func v2(f files) fstest.MapFS {
	return tree("sys/fs/cgroup", f, files{
		"proc/self/cgroup": "0::/",
		"proc/self/mountinfo": "31 23 0:27 / / rw - overlay overlay rw,lowerdir=/a\n" +
			"33 31 0:28 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate",
	})
}

// v1 is a container that Docker started on a host of version 1: the host's paths, mounted at the container's own.
func v1(f files) fstest.MapFS {
	return tree("sys/fs/cgroup", f, files{
		"proc/self/cgroup": "9:name=systemd:/docker/abc\n4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/system.slice",
		"proc/self/mountinfo": "40 39 0:31 /docker/abc /sys/fs/cgroup/systemd ro master:5 - cgroup cgroup rw,name=systemd\n" +
			"41 39 0:32 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro master:6 - cgroup cgroup rw,cpu,cpuacct\n" +
			"42 39 0:33 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory",
	})
}

// slice is a service on a host, three groups deep; the mount point has a space in it.
var slice = files{
	"proc/self/cgroup":    "0::/user.slice/app.slice/notes.service",
	"proc/self/mountinfo": `33 31 0:28 / /sys/fs/c\040group rw shared:9 master:1 - cgroup2 cgroup2 rw`,
}

// slice1 is the like on a host of version 1.
var slice1 = files{
	"proc/self/cgroup":    "1:cpu,cpuacct:/box/notes",
	"proc/self/mountinfo": "41 39 0:32 / /sys/fs/cgroup/cpu,cpuacct ro master:6 - cgroup cgroup rw,cpu,cpuacct",
}

func TestReadLimits(t *testing.T) {
	hybrid := files{ // memory in version 1, cpu in version 2
		"proc/self/cgroup": "0::/box\n4:memory:/box",
		"proc/self/mountinfo": "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"33 31 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
	}
	for name, test := range map[string]struct {
		root fstest.MapFS
		want limits
	}{
		"nothing":                {fstest.MapFS{}, limits{}},
		"version 2":              {v2(files{"cpu.max": "150000 100000", "memory.max": "67108864"}), limits{1.5, 1.5, 64 << 20}},
		"version 2, no limit":    {v2(files{"cpu.max": "max 100000", "memory.max": "max", "memory.high": "max"}), limits{}},
		"version 2, high":        {v2(files{"memory.max": "2000000", "memory.high": "1000000"}), limits{0, 0, 1000000}},
		"version 2, nonsense":    {v2(files{"cpu.max": "x y", "memory.max": "-5"}), limits{}},
		"version 2, zero":        {v2(files{"cpu.max": "0 100000", "memory.max": "0"}), limits{}},
		"version 2, zero period": {v2(files{"cpu.max": "100000 0"}), limits{}},
		"version 2, no period":   {v2(files{"cpu.max": "100000 -1"}), limits{}},
		"version 2, cut short":   {v2(files{"cpu.max": "100000"}), limits{}},
		"version 1": {v1(files{
			"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000",
			"memory/memory.limit_in_bytes": "134217728",
		}), limits{0.5, 0.5, 128 << 20}},
		"version 1, no limit": {v1(files{
			"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000",
			"memory/memory.limit_in_bytes": "9223372036854771712",
		}), limits{}},
		"parent is tighter": {tree("sys/fs/c group/user.slice", slice, files{
			"app.slice/notes.service/cpu.max": "400000 100000", "app.slice/notes.service/memory.max": "max",
			"app.slice/cpu.max": "max 100000", "app.slice/memory.max": "3000000",
			"cpu.max": "300000 100000", "memory.max": "4000000",
		}), limits{3, 4, 3000000}},
		"child is tighter": {tree("sys/fs/c group/user.slice", slice, files{
			"app.slice/notes.service/cpu.max": "100000 100000", "app.slice/notes.service/memory.max": "1000000",
			"app.slice/cpu.max": "200000 100000", "memory.max": "4000000",
		}), limits{1, 1, 1000000}},
		"root has the limit": {tree("sys/fs/c group", slice, files{"memory.max": "5000000"}), limits{0, 0, 5000000}},
		"hybrid": {tree("sys/fs/cgroup", hybrid, files{
			"memory/box/memory.limit_in_bytes": "7000000", "unified/box/cpu.max": "250000 100000",
			"unified/box/memory.max": "1", // not the memory controller's
		}), limits{2.5, 2.5, 7000000}},
		"moved out of its namespace": {tree("sys/fs/cgroup", files{
			"proc/self/cgroup":    "0::/../other",
			"proc/self/mountinfo": "33 31 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
			"memory.max":          "1000000", "sys/fs/other/memory.max": "1000000",
		}), limits{}},
		"mount of another group": {tree("sys/fs/cgroup", files{
			"proc/self/cgroup":    "0::/boxes",
			"proc/self/mountinfo": "33 31 0:28 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
			"memory.max":          "1000000", "es/memory.max": "1000000",
		}), limits{}},
		"mounted at the root": {tree("", files{
			"proc/self/cgroup":    "0::/box",
			"proc/self/mountinfo": "33 31 0:28 / / rw - cgroup2 cgroup2 rw",
			"sys/x":               "",
		}), limits{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := readLimits(test.root); got != test.want {
				t.Errorf("readLimits() = %+v, want %+v", got, test.want)
			}
		})
	}
}

// The one look at the real files: whatever they say, it makes sense.
func TestReadLimitsHere(t *testing.T) {
	if l := readLimits(os.DirFS("/")); l.cores < 0 || l.memory < 0 || l.memory >= unlimited {
		t.Errorf("readLimits() = %+v", l)
	}
}
