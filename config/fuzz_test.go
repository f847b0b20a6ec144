package config

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// FuzzOrigin: whatever is taken for an origin is one to net/http too, and stays as it is when read again.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{
		"http://localhost:3000", "HTTPS://A.example:443", "http://[::1]:80", "https://*", "https://a/", "https://u@a",
		"http://a:0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := origin(text)
		if !ok {
			return
		}
		if err := http.NewCrossOriginProtection().AddTrustedOrigin(got); err != nil {
			t.Errorf("origin(%q) = %q, which net/http refuses: %v", text, got, err)
		}
		if again, ok := origin(got); !ok || again != got {
			t.Errorf("origin(%q) = %q, but origin of that is %q, %v", text, got, again, ok)
		}
	})
}

// FuzzNetwork: a network holds the address it was written with.
func FuzzNetwork(f *testing.F) {
	for _, s := range []string{
		"10.0.0.0/8", "10.1.2.3/8", "::1", "fd00::/8", "::ffff:1.2.3.4", "::ffff:1.2.3.4/104", "fe80::1%eth0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := network(text)
		if !ok {
			return
		}
		written, _, _ := strings.Cut(text, "/")
		a, err := netip.ParseAddr(written)
		if err != nil || !got.IsValid() || !got.Contains(a.Unmap()) || got != got.Masked() {
			t.Errorf("network(%q) = %v (%v)", text, got, err)
		}
	})
}

// FuzzSizes: a size is within its bounds, however large or odd its digits.
func FuzzSizes(f *testing.F) {
	for _, s := range []string{
		"10mb", "1.5 KB", "1048576", "512MiB", "off", "99999999999999999999TiB", "1e9", "0x10", "-1", "1.gb",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var body, limit int64
		if bodyLimit(&body).read(text) && (body < 1<<10 || body > 1<<30) {
			t.Errorf("BODY_PARSER_LIMIT=%q is read as %d", text, body)
		}
		if memLimit(&limit).read(text) && limit < minMemory || limit > 1<<50 && limit != noLimit {
			t.Errorf("GOMEMLIMIT=%q is read as %d", text, limit)
		}
	})
}

// FuzzDurations: so is a duration.
func FuzzDurations(f *testing.F) {
	for _, s := range []string{"60s", "60000", "1h0m0.5s", "9223372036854775807", "-1ns", "1µs", "+5s", ".5s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d time.Duration
		if durationOrMillis(&d, time.Second, time.Hour).read(text) && (d < time.Second || d > time.Hour) {
			t.Errorf("%q is read as %v", text, d)
		}
	})
}

// FuzzLoad: any values give a usable configuration or mistakes, and no secret is told.
func FuzzLoad(f *testing.F) {
	f.Add("DATABASE_URL", "postgres://u:hunter2%@db", "REDIS_URL", "hunter2://")
	f.Add("SESSION_SECRET", "hunter2,", "ADMIN_TOKEN", "hunter2 ")
	f.Add("MAX_WORKERS", "3", "DATABASE_MAX_CONNS", "4")
	m := machine{cpus: 4, procs: 4, root: fstest.MapFS{}, dir: f.TempDir()}
	f.Fuzz(func(t *testing.T, a, x, b, y string) {
		c, err := load([]string{a + "=" + x, b + "=" + y}, m)
		if err == nil && (c.Runtime.Shards < 1 || c.Runtime.WorkersPerShard < 1 || len(c.Settings()) == 0) {
			t.Errorf("Load() = %+v", c)
		}
		for _, name := range []string{a, b} {
			if isSecret(name) && err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Load() tells a secret: %v", err)
			}
		}
	})
}

// FuzzReadLimits: whatever the kernel's files hold, the limits make sense.
func FuzzReadLimits(f *testing.F) {
	for _, fsys := range []fstest.MapFS{v1(nil), v2(nil)} {
		f.Add(fsys["proc/self/cgroup"].Data, fsys["proc/self/mountinfo"].Data, []byte("150000 100000"), []byte("67108864"))
	}
	f.Add([]byte("0::/../.."), []byte(`1 1 0:1 /.. /\057 rw - cgroup2 c rw`), []byte("max"), []byte("max"))
	f.Fuzz(func(t *testing.T, groups, mounts, cpu, memory []byte) {
		l := readLimits(fstest.MapFS{
			"proc/self/cgroup":         {Data: groups},
			"proc/self/mountinfo":      {Data: mounts},
			"sys/fs/cgroup/cpu.max":    {Data: cpu},
			"sys/fs/cgroup/memory.max": {Data: memory},
		})
		if !(l.cores >= 0 && l.cores < 1e19) || l.memory < 0 || l.memory >= unlimited {
			t.Errorf("readLimits() = %+v", l)
		}
	})
}
