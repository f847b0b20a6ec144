package pool

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// files is a file system from names and contents.
func files(contents map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range contents {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

func TestReadRSS(t *testing.T) {
	page := int64(os.Getpagesize())
	for name, c := range map[string]struct {
		statm string
		want  int64
	}{
		"linux":   {"765 421 394 5 0 123 0\n", 421 * page},
		"short":   {"765\n", 0},
		"garbage": {"a b c\n", 0},
		"empty":   {"", 0},
	} {
		if got := readRSS(files(map[string]string{"proc/self/statm": c.statm})); got != c.want {
			t.Errorf("%s: readRSS() = %d, want %d", name, got, c.want)
		}
	}
	if got := readRSS(files(nil)); got != 0 {
		t.Errorf("readRSS() without proc = %d, want 0", got)
	}
}

// What the container uses, without the page cache that can go, in either
// version of control groups and wherever the process is in them.
func TestReadCgroup(t *testing.T) {
	for name, c := range map[string]struct {
		root map[string]string
		want int64
	}{
		"version 2 in a container": {map[string]string{
			"proc/self/cgroup":             "0::/\n",
			"sys/fs/cgroup/memory.current": "1000\n",
			"sys/fs/cgroup/memory.stat":    "anon 5\ninactive_file 300\nactive_file 200\n",
		}, 700},
		"version 2 on a host": {map[string]string{
			"proc/self/cgroup": "0::/system.slice/notesd.service\n",
			"sys/fs/cgroup/system.slice/notesd.service/memory.current": "1000\n",
			"sys/fs/cgroup/system.slice/notesd.service/memory.stat":    "inactive_file 100\n",
		}, 900},
		"version 1, host's names seen from inside": {map[string]string{
			"proc/self/cgroup":                           "4:cpu,memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n",
			"sys/fs/cgroup/memory/memory.stat":           "inactive_file 1\ntotal_inactive_file 400\n",
		}, 600},
		"no statistics": {map[string]string{
			"proc/self/cgroup":             "0::/\n",
			"sys/fs/cgroup/memory.current": "1000\n",
		}, 1000},
		"cache above use": {map[string]string{
			"proc/self/cgroup":             "0::/\n",
			"sys/fs/cgroup/memory.current": "100\n",
			"sys/fs/cgroup/memory.stat":    "inactive_file 300\n",
		}, 0},
		"path that climbs out": {map[string]string{"proc/self/cgroup": "0::/../../..\n"}, 0},
		"none":                 {nil, 0},
	} {
		if got := readCgroup(files(c.root)); got != c.want {
			t.Errorf("%s: readCgroup() = %d, want %d", name, got, c.want)
		}
	}
}

// The runtime's figures follow what the program does.
func TestReadMemory(t *testing.T) {
	ballast := bytes.Repeat([]byte{1}, 20<<20) // written, so that it is resident
	runtime.GC()
	before := debug.SetMemoryLimit(1 << 40)
	defer debug.SetMemoryLimit(before)
	m := ReadMemory()
	if m.HeapLive < 20<<20 || m.HeapUsed < 20<<20 || m.HeapTotal < m.HeapUsed || m.Stacks == 0 ||
		m.Limit != 1<<40 || m.GCCycles == 0 || m.Goroutines < 2 || m.GCShare <= 0 || m.GCShare > 1 {
		t.Errorf("ReadMemory() = %+v", m)
	}
	if runtime.GOOS == "linux" && m.RSS < m.HeapLive {
		t.Errorf("RSS = %d, want at least the live heap of %d", m.RSS, m.HeapLive)
	}
	debug.SetMemoryLimit(1<<63 - 1)
	if m := ReadMemory(); m.Limit != 0 {
		t.Errorf("Limit = %d without one, want 0", m.Limit)
	}
	runtime.KeepAlive(ballast)
}

// monitorTest runs a monitor in fake time over readings of RSS, one a minute,
// and returns its log and what it told of.
func monitorTest(t *testing.T, cfg MonitorConfig, rss ...int64) (*Monitor, []map[string]any, []MemoryEvent) {
	var out bytes.Buffer
	var events []MemoryEvent
	cfg.Log = slog.New(slog.NewJSONHandler(&out, nil))
	cfg.Interval = time.Minute
	cfg.Pool = New(Config{Shards: 2, WorkersPerShard: 1})
	cfg.Pool.AddInFlight(1, 77)
	cfg.OnEvent = func(e MemoryEvent) { events = append(events, e) }
	m := NewMonitor(cfg)
	synctest.Test(t, func(t *testing.T) {
		readings := 0
		start := time.Now()
		m.read = func() Memory {
			readings++
			if got, want := time.Since(start), time.Duration(readings)*time.Minute; got != want {
				t.Errorf("reading %d after %v, want %v", readings, got, want)
			}
			// One second of four cores' went by for each reading, a tenth of it for collecting.
			return Memory{RSS: rss[readings-1], HeapLive: 5, gcSeconds: 0.4 * float64(readings), cpuSeconds: 4 * float64(readings)}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(len(rss))*time.Minute+time.Second)
		defer cancel()
		m.Run(ctx)
	})
	var lines []map[string]any
	for d := json.NewDecoder(&out); d.More(); {
		var line map[string]any
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return m, lines, events
}

// A threshold is crossed once on the way up, and left below 90 % of it.
func TestMonitorThreshold(t *testing.T) {
	for name, c := range map[string]struct {
		threshold int64
		rss       []int64
		want      []bool // events, true: above
	}{
		"never":              {1000, []int64{10, 999, 1000}, nil},
		"once":               {1000, []int64{1001, 1002, 5000}, []bool{true}},
		"not quite back":     {1000, []int64{1001, 900, 1001, 900, 1001}, []bool{true}},
		"back":               {1000, []int64{1001, 899}, []bool{true, false}},
		"up and back, twice": {1000, []int64{1001, 899, 950, 1001, 0}, []bool{true, false, true, false}},
		"no threshold":       {0, []int64{1 << 40, 0}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m, lines, events := monitorTest(t, MonitorConfig{Threshold: c.threshold}, c.rss...)
			var got []bool
			var ups uint64
			for _, e := range events {
				got = append(got, e.Above)
				if e.Above {
					ups++
				}
				if e.Threshold != c.threshold {
					t.Errorf("event of threshold %d, want %d", e.Threshold, c.threshold)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			s := m.Stats()
			above := len(got) > 0 && got[len(got)-1]
			if s.Above != above || s.Crossings != ups || s.Last.RSS != c.rss[len(c.rss)-1] || s.Threshold != c.threshold {
				t.Errorf("Stats() = %+v, want above %v after %d crossings", s, above, ups)
			}
			var told []bool
			for _, line := range lines {
				switch line["msg"] {
				case "memory above threshold":
					told = append(told, line["level"] == "WARN")
				case "memory below threshold":
					told = append(told, false)
				}
			}
			if diff := cmp.Diff(c.want, told); diff != "" {
				t.Errorf("log lines about the threshold (-want +got):\n%s", diff)
			}
		})
	}
}

// Each interval there is one line with the figures of that interval.
func TestMonitorLine(t *testing.T) {
	_, lines, _ := monitorTest(t, MonitorConfig{}, 100, 200)
	var got []string
	for _, line := range lines {
		share := line["gc_share"].(float64)
		inFlight, _ := json.Marshal(line["bytes_in_flight"])
		got = append(got, line["msg"].(string)+" "+strconv.Itoa(int(line["rss"].(float64)))+" "+
			strconv.FormatFloat(share, 'f', 3, 64)+" "+string(inFlight))
	}
	want := []string{"memory 100 0.100 [0,77]", "memory 200 0.100 [0,77]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
