package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"notesd/bench/format"
)

// A Machine describes the machine of a measurement.
type Machine struct {
	Cores  int    `json:"cores"`
	Model  string `json:"model"`  // model of the processor
	Memory int64  `json:"memory"` // bytes
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// thisMachine returns what the kernel reports of this machine. Values that it does not report are
// left out.
func thisMachine() Machine {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	kb, _ := strconv.ParseInt(strings.TrimSuffix(fieldOf("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	return Machine{runtime.NumCPU(), fieldOf("/proc/cpuinfo", "model name"), kb << 10,
		strings.TrimSpace(string(kernel)),
		runtime.Version()}
}

// fieldOf returns the first value of a name in a file of lines "name: value".
func fieldOf(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if field, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(field) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (m Machine) String() string {
	return fmt.Sprintf("%s of %s, %d GB, Linux %s, %s", format.Count(m.Cores, "core"), m.Model, (m.Memory+1<<29)>>30,
		m.Kernel,
		m.Go)
}
