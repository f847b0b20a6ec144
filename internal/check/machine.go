package check

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// readMachine examines the machine whose file system is root, and the place where dataDir is or
// will be.
func readMachine(root fs.FS, dataDir string) Machine {
	m := Machine{Cores: runtime.NumCPU(), Root: os.Geteuid() == 0, Memory: totalMemory(text(root, "proc/meminfo")),
		HugePages: chosen(text(root, "sys/kernel/mm/transparent_hugepage/enabled"))}
	m.Overcommit, _ = strconv.Atoi(text(root, "proc/sys/vm/overcommit_memory"))
	m.HugeMost, _ = strconv.Atoi(text(root, "sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none"))
	m.InContainer = inContainer(root)
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		m.OpenFiles = uint64(files.Max) // Go raises its own limit to the maximum
	}
	if dir, ok := existing(dataDir); ok {
		var disk syscall.Statfs_t
		if syscall.Statfs(dir, &disk) == nil {
			m.DiskFree = int64(disk.Bavail) * int64(disk.Bsize)
		}
		m.FileSystem = fileSystemOf(text(root, "proc/self/mountinfo"), dir)
	}
	return m
}

// text returns the content of a small file. It returns "" if the file can't be read.
func text(root fs.FS, name string) string {
	b, _ := fs.ReadFile(root, name)
	return strings.TrimSpace(string(b))
}

// totalMemory reads MemTotal from /proc/meminfo.
func totalMemory(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			kb, _ := strconv.ParseInt(f[1], 10, 53)
			return kb << 10
		}
	}
	return 0
}

// chosen returns the word in brackets.
func chosen(choice string) string {
	_, word, _ := strings.Cut(choice, "[")
	word, _, _ = strings.Cut(word, "]")
	return word
}

// inContainer reports whether the root is that of a container. Container engines leave a file
// there, or mount the root as an overlay.
func inContainer(root fs.FS) bool {
	for _, name := range []string{".dockerenv", "run/.containerenv"} {
		if _, err := fs.Stat(root, name); err == nil {
			return true
		}
	}
	return strings.HasPrefix(fileSystemOf(text(root, "proc/self/mountinfo"), "/"), "overlay")
}

// existing returns dir, or its nearest parent directory that exists.
func existing(dir string) (string, bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", false
	}
	for {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return real, true
		}
		if dir == filepath.Dir(dir) {
			return "", false
		}
		dir = filepath.Dir(dir)
	}
}

// fileSystemOf returns the type of the file system that a path is on. It is that of the mount with
// the longest mount point that contains the path. Of several mounts at one point, the last counts.
func fileSystemOf(mountinfo, path string) (kind string) {
	longest := -1
	for line := range strings.Lines(mountinfo) {
		before, after, found := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !found || len(f) < 5 || len(g) < 1 {
			continue
		}
		point := strings.ReplaceAll(f[4], `\040`, " ")
		if within(path, point) && len(point) >= longest {
			longest, kind = len(point), g[0]
		}
	}
	return kind
}

// within reports whether path is dir or is below dir.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
