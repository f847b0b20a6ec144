package config

import (
	"io/fs"
	"iter"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// limits are what its control groups allow this process.
type limits struct {
	cores  float64 // the tightest quota of the process's own group and its parents; 0: no limit
	own    float64 // the quota of the own group, which is the only one that Go reads; 0: no limit
	memory int64   // bytes; 0: no limit
}

// procs returns the GOMAXPROCS that the parents' quota asks for, by the rule
// that Go applies to the own group. It is 0 where Go's own choice is as low.
func (l limits) procs(cpus int) int {
	asked := procsOf(l.cores, cpus)
	if asked < procsOf(l.own, cpus) {
		return asked
	}
	return 0
}

// procsOf is Go's rule: min(cores, max(2, ⌈quota⌉)).
func procsOf(quota float64, cpus int) int {
	if quota == 0 || quota >= float64(cpus) {
		return cpus
	}
	return min(cpus, max(2, int(math.Ceil(quota))))
}

// unlimited is where a memory limit stops meaning one: version 1 writes "none" as a number near 2⁶³.
const unlimited = 1 << 60

// readLimits finds the tightest limits among the control groups of this process and their parents, version 1 or 2,
// in the file system whose root is given. What is not there, or makes no sense, limits nothing.
func readLimits(root fs.FS) limits {
	l := limits{cores: math.Inf(1), own: math.Inf(1), memory: unlimited}
	dirs, v2 := groups(root, "cpu")
	for i, dir := range dirs {
		l.cores = min(l.cores, cpuQuota(root, dir, v2))
		if i == 0 {
			l.own = l.cores
		}
	}
	dirs, v2 = groups(root, "memory")
	for _, dir := range dirs {
		l.memory = min(l.memory, memoryLimit(root, dir, v2))
	}
	if math.IsInf(l.cores, 1) {
		l.cores = 0
	}
	if math.IsInf(l.own, 1) {
		l.own = 0
	}
	if l.memory == unlimited {
		l.memory = 0
	}
	return l
}

// cpuQuota returns how many cores' worth of time the group may use, +Inf when it has no limit.
func cpuQuota(root fs.FS, dir string, v2 bool) float64 {
	var quota, period string
	if v2 {
		quota, period, _ = strings.Cut(readLine(root, path.Join(dir, "cpu.max")), " ")
	} else {
		quota = readLine(root, path.Join(dir, "cpu.cfs_quota_us"))
		period = readLine(root, path.Join(dir, "cpu.cfs_period_us"))
	}
	q, err := strconv.ParseInt(quota, 10, 64) // "max" in version 2, -1 in version 1: none
	if err != nil || q <= 0 {
		return math.Inf(1)
	}
	p, err := strconv.ParseInt(period, 10, 64)
	if err != nil || p <= 0 {
		return math.Inf(1)
	}
	return float64(q) / float64(p)
}

// memoryLimit returns how many bytes the group may use. Above memory.high the kernel slows a process to a crawl, so
// that is a limit as much as memory.max is.
func memoryLimit(root fs.FS, dir string, v2 bool) int64 {
	files := []string{"memory.limit_in_bytes"}
	if v2 {
		files = []string{"memory.max", "memory.high"}
	}
	limit := int64(unlimited)
	for _, file := range files {
		n, err := strconv.ParseInt(readLine(root, path.Join(dir, file)), 10, 64)
		if err == nil && n > 0 {
			limit = min(limit, n)
		}
	}
	return limit
}

// groups returns the directories that hold the process's limits for a controller, from its own group up to the
// uppermost that can be seen from here, and whether they are of version 2.
func groups(root fs.FS, controller string) (dirs []string, v2 bool) {
	group, v2, ok := ownGroup(root, controller)
	if !ok {
		return nil, false
	}
	for _, m := range cgroupMounts(root) {
		rel, below := cutPath(group, m.root)
		if !below || m.v2 != v2 || !v2 && !slices.Contains(m.controllers, controller) {
			continue
		}
		top := path.Join("/", m.point)
		for dir := path.Join(top, rel); ; dir = path.Dir(dir) {
			dirs = append(dirs, dir[len("/"):]) // as fs.FS names it
			if len(dir) <= len(top) {
				return dirs, v2
			}
		}
	}
	return nil, v2
}

// ownGroup returns the path of the process's group for a controller. A controller is in one hierarchy at a time: in
// the version 1 hierarchy that lists it, else in version 2's.
func ownGroup(root fs.FS, controller string) (group string, v2, ok bool) {
	for line := range readLines(root, "proc/self/cgroup") {
		f := strings.SplitN(line, ":", 3) // hierarchy:controllers:path
		switch {
		case len(f) != 3 || !strings.HasPrefix(f[2], "/"):
		case f[0] == "0" && f[1] == "":
			group, v2, ok = f[2], true, true
		case slices.Contains(strings.Split(f[1], ","), controller):
			return f[2], false, true
		}
	}
	return group, v2, ok
}

// cgroupMount is a place where control groups can be read.
type cgroupMount struct {
	root, point string // the uppermost group it shows, and where
	v2          bool
	controllers []string // of version 1
}

// cgroupMounts reads them from mountinfo: id, parent, device, root, mount point, options, any number of optional
// fields, "-", type, source, super options.
func cgroupMounts(root fs.FS) (mounts []cgroupMount) {
	for line := range readLines(root, "proc/self/mountinfo") {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if dash < 6 || len(f) < dash+4 || f[dash+1] != "cgroup" && f[dash+1] != "cgroup2" {
			continue
		}
		mounts = append(mounts, cgroupMount{
			root:        unescape(f[3]),
			point:       unescape(f[4]),
			v2:          f[dash+1] == "cgroup2",
			controllers: strings.Split(f[dash+3], ","),
		})
	}
	return mounts
}

// cutPath returns what is left of p below root. A path that climbs out of what is mounted is not below it.
func cutPath(p, root string) (rel string, below bool) {
	rel, below = strings.CutPrefix(p, strings.TrimSuffix(root, "/"))
	if !below || rel != "" && rel[0] != '/' || strings.HasPrefix(rel+"/", "/../") {
		return "", false
	}
	return rel, true
}

var octal = regexp.MustCompile(`\\[0-3][0-7]{2}`)

// unescape undoes mountinfo's writing of spaces and the like as \040.
func unescape(p string) string {
	return octal.ReplaceAllStringFunc(p, func(code string) string {
		n, _ := strconv.ParseUint(code[1:], 8, 8)
		return string([]byte{byte(n)})
	})
}

// readLines yields the lines of a file, none when it cannot be read.
func readLines(root fs.FS, name string) iter.Seq[string] {
	b, _ := fs.ReadFile(root, name)
	return strings.SplitSeq(string(b), "\n")
}

// readLine returns a file of one line, "" when it cannot be read.
func readLine(root fs.FS, name string) string {
	b, _ := fs.ReadFile(root, name)
	return strings.TrimSpace(string(b))
}
