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

// limits are what the control groups of this process allow it.
type limits struct {
	cores  float64 // the tightest CPU quota of the process's own group and its parents; 0: no limit
	own    float64 // the quota of the own group, the only one that Go reads; 0: no limit
	memory int64   // bytes; 0: no limit
}

// procs returns the GOMAXPROCS that the quotas of the parents require, by the rule that Go applies
// to the own group. It returns 0 if Go's own choice is as low.
func (l limits) procs(cpus int) int {
	asked := procsOf(l.cores, cpus)
	if asked < procsOf(l.own, cpus) {
		return asked
	}
	return 0
}

// procsOf applies Go's rule: min(cores, max(2, ⌈quota⌉)).
func procsOf(quota float64, cpus int) int {
	if quota == 0 || quota >= float64(cpus) {
		return cpus
	}
	return min(cpus, max(2, int(math.Ceil(quota))))
}

// unlimited is the value from which a memory limit means no limit: version 1 writes "none" as a
// number near 2⁶³.
const unlimited = 1 << 60

// readLimits finds the tightest limits among the control groups of this process and their parents,
// version 1 or 2, in the file system root. A file that is missing or makes no sense sets no limit.
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

// cpuQuota returns how many cores' worth of CPU time the group may use. It returns +Inf if there is
// no limit.
func cpuQuota(root fs.FS, dir string, v2 bool) float64 {
	var quota, period string
	if v2 {
		quota, period, _ = strings.Cut(readLine(root, path.Join(dir, "cpu.max")), " ")
	} else {
		quota = readLine(root, path.Join(dir, "cpu.cfs_quota_us"))
		period = readLine(root, path.Join(dir, "cpu.cfs_period_us"))
	}
	q, err := strconv.ParseInt(quota, 10, 64) // no limit is "max" in version 2, and -1 in version 1
	if err != nil || q <= 0 {
		return math.Inf(1)
	}
	p, err := strconv.ParseInt(period, 10, 64)
	if err != nil || p <= 0 {
		return math.Inf(1)
	}
	return float64(q) / float64(p)
}

// memoryLimit returns how many bytes the group may use. Above memory.high the kernel slows a
// process to a crawl, so memory.high is a limit as much as memory.max is.
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

// groups returns the directories that hold the process's limits for a controller, and whether they
// are of version 2. It begins with the process's own group and ends with the uppermost group that
// is visible from here.
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
			dirs = append(dirs, dir[len("/"):]) // the form of path that fs.FS takes
			if len(dir) <= len(top) {
				return dirs, v2
			}
		}
	}
	return nil, v2
}

// ownGroup returns the path of the process's group for a controller. A controller is in one
// hierarchy at a time: in the version 1 hierarchy that lists it, or else in version 2's.
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

// A cgroupMount is a mount point of a file system of control groups.
type cgroupMount struct {
	root, point string // the uppermost group that the mount shows, and the mount point
	v2          bool
	controllers []string // of version 1
}

// cgroupMounts reads the mounts from mountinfo. The fields of a line are id, parent, device, root,
// mount point, options, any number of optional fields, "-", type, source, super options.
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

// cutPath returns the part of p below root. A path that climbs out of the mounted tree is not below
// root.
func cutPath(p, root string) (rel string, below bool) {
	rel, below = strings.CutPrefix(p, strings.TrimSuffix(root, "/"))
	if !below || rel != "" && rel[0] != '/' || strings.HasPrefix(rel+"/", "/../") {
		return "", false
	}
	return rel, true
}

var octal = regexp.MustCompile(`\\[0-3][0-7]{2}`)

// unescape decodes the octal escapes of mountinfo, such as \040 for a space.
func unescape(p string) string {
	return octal.ReplaceAllStringFunc(p, func(code string) string {
		n, _ := strconv.ParseUint(code[1:], 8, 8)
		return string([]byte{byte(n)})
	})
}

// readLines yields the lines of a file. It yields none if the file cannot be read.
func readLines(root fs.FS, name string) iter.Seq[string] {
	b, _ := fs.ReadFile(root, name)
	return strings.SplitSeq(string(b), "\n")
}

// readLine returns the text of a file of one line. It returns "" if the file cannot be read.
func readLine(root fs.FS, name string) string {
	b, _ := fs.ReadFile(root, name)
	return strings.TrimSpace(string(b))
}
