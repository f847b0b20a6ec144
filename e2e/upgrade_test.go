package e2e

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"notesd/bench"
	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store/storetest"
)

const (
	upgraders    = 4                      // people who are busy during an upgrade, each on two connections
	upgradePause = 200 * time.Millisecond // of ordinary load between upgrades
)

// UPGRADES in a row under load, on each engine: no request fails, and every
// write that was acknowledged is there, once.
func TestUpgrades(t *testing.T) {
	upgrades := numberOf(t, "UPGRADES", 2)
	proof := newProof(t, "upgrade", fmt.Sprintf("UPGRADES=%d", upgrades))
	table := bench.Table{Title: "Upgrades", Head: []string{"", "upgrades", "requests", "failed", "acknowledged notes", "missing",
		"twice", "slowest answer", "slowest upgrade"}}
	for _, row := range []struct {
		engine   string
		settings func() []string
	}{
		{"SQLite", func() []string { return nil }},
		{"PostgreSQL and Redis", func() []string {
			return []string{"DATABASE_URL=" + storetest.Postgres(t), "REDIS_URL=" + testserver.Redis(t)}
		}},
	} {
		t.Run(row.engine, func(t *testing.T) {
			p := upgradable(t, append(row.settings(), secret)...)
			p.start()
			p.awaitReady()
			company := startCompany(p)
			slowest := time.Duration(0)
			for range upgrades {
				time.Sleep(upgradePause)
				slowest = max(slowest, p.upgrade())
			}
			f := company.stop(t)
			f.promise(proof, row.engine, upgrades)
			table.Rows = append(table.Rows, []string{row.engine, fmt.Sprint(upgrades), fmt.Sprint(f.requests), fmt.Sprint(f.failed),
				fmt.Sprint(f.notes), fmt.Sprint(f.missing), fmt.Sprint(f.twice), f.slowest.Round(time.Millisecond).String(),
				slowest.Round(time.Millisecond).String()})
		})
	}
	if t.Failed() {
		return // before all was measured
	}
	proof.Tables = append(proof.Tables, table)
	proof.Notes = append(proof.Notes, fmt.Sprintf("%d people write, read and list on two kept connections each, one request after "+
		"the other; no request is ever sent twice. SIGUSR2 %v after the upgrade before has ended; an upgrade ends when the old "+
		"process has.", upgraders, upgradePause), "On SQLite the slowest answer is one that waited in the listener's backlog while "+
		"the data directory changed hands.")
	publish(t, proof)
	if err := proof.Judge(true); err != nil {
		t.Error(err)
	}
}

// numberOf is the setting of a proof, or its quick default, which is 1 under -short.
func numberOf(t *testing.T, name string, quick int) int {
	t.Helper()
	if testing.Short() {
		quick = 1
	}
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(quick)))
	if err != nil || n < 1 {
		t.Fatalf("%s=%s, want a number above 0", name, os.Getenv(name))
	}
	return n
}

// A company is a load of several persons.
type company struct {
	each  []*client
	loads []*load
}

func startCompany(p *process) *company {
	all := &company{}
	for n := range upgraders {
		c := p.member(fmt.Sprintf("person%d@example.com", n))
		all.each = append(all.each, c)
		all.loads = append(all.loads, startLoad(c, 2, everyday(c.create("first", "of many"))))
	}
	return all
}

// upgradeFindings are what the people saw of their server being replaced.
type upgradeFindings struct {
	requests, failed      int
	notes, missing, twice int
	slowest               time.Duration
}

// stop ends the load and compares what is there with what was acknowledged.
func (c *company) stop(t *testing.T) (f upgradeFindings) {
	t.Helper()
	for n, l := range c.loads {
		attempts := l.stop()
		bad := failed(attempts)
		report(t, bad, len(attempts), "during the upgrades")
		there := c.each[n].countTitles(t)
		for _, a := range attempts {
			f.slowest = max(f.slowest, a.took())
			if a.title == "" || !a.succeeded() {
				continue
			}
			f.notes++
			switch there[a.title] {
			case 0:
				f.missing++
			case 1:
			default:
				f.twice++
			}
		}
		f.requests += len(attempts)
		f.failed += len(bad)
	}
	return f
}

// promise holds the findings to what an upgrade must be.
func (f upgradeFindings) promise(proof *bench.Report, what string, upgrades int) {
	enough := f.notes >= 10*upgrades // else nothing was under way
	proof.Promise(fmt.Sprintf("%s: failed requests in %d upgrades", what, upgrades), "0",
		fmt.Sprintf("%d of %d", f.failed, f.requests), f.failed == 0 && enough)
	proof.Promise(what+": acknowledged notes that are missing", "0", fmt.Sprintf("%d of %d", f.missing, f.notes), f.missing == 0 && enough)
	proof.Promise(what+": notes that are there twice", "0", fmt.Sprintf("%d of %d", f.twice, f.notes), f.twice == 0 && enough)
}

// check is promise for a test that publishes nothing.
func (f upgradeFindings) check(t *testing.T, enough int) {
	t.Helper()
	if f.failed+f.missing+f.twice > 0 || f.notes < enough {
		t.Errorf("%+v, want no harm and at least %d notes", f, enough)
	}
}

// upgradable is newProcess for one that will be replaced by others. Those are
// this process's children, too, once the one before them has ended.
func upgradable(t *testing.T, settings ...string) *process {
	t.Helper()
	adoptOrphans(t)
	hear, say, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := newProcess(t, settings...)
	p.out, p.program = say, filepath.Join(t.TempDir(), "notesd")
	p.install(binary)
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(p.log, hear) })
	t.Cleanup(func() {
		p.kill()
		p.killHeirs()
		_ = say.Close()
		reading.Wait()
		_ = hear.Close()
	})
	return p
}

// install puts another program where the process was started from.
func (p *process) install(program string) {
	p.t.Helper()
	next := p.program + ".next"
	if err := os.Symlink(program, next); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(next, p.program); err != nil {
		p.t.Fatal(err)
	}
}

// adoptOrphans has the kernel give this process the children of its children that have died.
func adoptOrphans(t *testing.T) {
	t.Helper()
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); errno != 0 {
		t.Fatal(errno)
	}
}

const nextIsReady = "upgrade: new process is ready, leaving to it"

// upgrade replaces the process as administrators do, and returns how long that took.
func (p *process) upgrade() time.Duration {
	p.t.Helper()
	before, began := len(p.log.String()), time.Now()
	p.signal(syscall.SIGUSR2)
	state := p.wait(patience)
	took := time.Since(began)
	if state.ExitCode() != 0 {
		p.t.Fatalf("the process that was replaced: %v, want exit status 0", state)
	}
	for {
		since := &testkit.LogBuffer{}
		_, _ = since.Write([]byte(p.log.String()[before:])) // all of it may be long
		if ready := since.With(nextIsReady); len(ready) > 0 {
			p.adopt(int(ready[0].Number("pid")))
			return took
		}
		if time.Since(began) > patience {
			p.t.Fatal("it ended, and no new process was ready")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// adopt goes on with the process pid in place of the one that has ended.
func (p *process) adopt(pid int) {
	p.t.Helper()
	found, err := os.FindProcess(pid)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd, ended := &exec.Cmd{Process: found}, make(chan struct{})
	go func() {
		defer close(ended)
		cmd.ProcessState, _ = found.Wait()
	}()
	p.cmd, p.ended = cmd, ended
}

// killHeirs kills what a test that failed has left in the process's directory.
func (p *process) killHeirs() {
	dirs, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if where, err := os.Readlink(dir); err == nil && where == p.dir {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// script is a program that a shell runs in place of notesd.
func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// A new program that ends before it is ready, is no program at all, or refuses
// the settings changes nothing: the old process says so and serves on.
func TestUpgradeFails(t *testing.T) {
	for _, row := range []struct{ name, program, says string }{
		{"ends at once", script(t, "exit 3"), "the new process ended before it was ready: exit status 3"},
		{"refuses its settings", script(t, "BACKEND_PORT=nonsense exec "+binary), "ended before it was ready: exit status 1"},
		{"ends after a while", script(t, "sleep 1; kill -9 $$"), "ended before it was ready: signal: killed"},
		{"is not there", "/nonexistent", "no such file or directory"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.name != "refuses its settings" {
				long(t, "one failure is enough")
			}
			p := upgradable(t)
			p.start()
			p.awaitReady()
			company := startCompany(p)
			time.Sleep(upgradePause)
			p.install(row.program)
			p.signal(syscall.SIGUSR2)
			e := p.awaitLog("upgrade: failed, serving on")
			if !strings.Contains(e.Text("error"), row.says) {
				t.Errorf("the log says %q, want %q", e.Text("error"), row.says)
			}
			time.Sleep(upgradePause)
			p.install(binary)
			p.upgrade() // and the next one succeeds
			company.stop(t).check(t, 20)
		})
	}
}

// An heir that dies when the old process has begun to leave is no heir: the old one serves on.
func TestUpgradeHeirDies(t *testing.T) {
	p := upgradable(t, "SHUTDOWN_DELAY=3s")
	p.start()
	p.awaitReady()
	company := startCompany(p)
	p.signal(syscall.SIGUSR2)
	pid := int(p.awaitLog(nextIsReady).Number("pid"))
	p.signal(syscall.SIGUSR2)
	if e := p.awaitLog("upgrade: refused"); e.Text("reason") != "an upgrade is under way" {
		t.Errorf("a second SIGUSR2 meets %v", e)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.awaitLog("upgrade: failed, serving on")
	time.Sleep(upgradePause)
	if r := company.each[0].get("/readyz").want(http.StatusOK); r.closes {
		t.Error("it still closes its connections")
	}
	company.stop(t).check(t, 20)
	p.stop()
}

// SIGTERM before the new process is ready ends both.
func TestUpgradeStopped(t *testing.T) {
	p := upgradable(t)
	p.start()
	p.awaitReady()
	p.install(script(t, "exec sleep 60"))
	p.signal(syscall.SIGUSR2)
	pid := int(p.awaitLog("upgrade: new process started").Number("pid"))
	p.stop()
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("the new process is left alone")
	}
}

// With a socket of systemd's, played by this test, the service can be replaced
// and even stopped: who asks meanwhile is answered by the next.
func TestSocketActivation(t *testing.T) {
	p := upgradable(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	p.files = []*os.File{socket}
	p.wrap = []string{"sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`, "sh"}
	p.port = ln.Addr().(*net.TCPAddr).Port
	p.url = "http://" + ln.Addr().String()
	p.settings = slices.DeleteFunc(p.settings, func(s string) bool { return strings.HasPrefix(s, "BACKEND_PORT=") })
	told := listenAsSystemd(t)
	p.settings = append(p.settings, "BACKEND_PORT=1", // not asked for: nobody may listen there
		"NOTIFY_SOCKET="+told.LocalAddr().String())
	p.start()
	p.awaitReady()
	wantTold(t, told, "READY=1")
	company := startCompany(p)
	time.Sleep(upgradePause)
	for range 2 { // the second by one that was itself started so
		p.upgrade()
		wantTold(t, told, fmt.Sprintf("MAINPID=%d", p.cmd.Process.Pid))
	}
	time.Sleep(upgradePause)
	company.stop(t).check(t, 20)

	p.stop()
	wantTold(t, told, "STOPPING=1")
	late := startLoad(company.each[0], 4, everyday("")) // into the backlog
	time.Sleep(upgradePause)
	p.start()
	p.awaitReady()
	time.Sleep(upgradePause)
	for _, a := range late.stop() {
		if a.err != nil {
			t.Errorf("%s while no process was there: %v", a.path, a.err)
		}
	}
}

// listenAsSystemd is where services say how it goes with them.
func listenAsSystemd(t *testing.T) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(t.TempDir(), "notify")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// wantTold: the next that systemd is told is state.
func wantTold(t *testing.T, told *net.UnixConn, state string) {
	t.Helper()
	text := make([]byte, 1000)
	if err := told.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, err := told.Read(text)
	if err != nil || string(text[:n]) != state {
		t.Errorf("systemd is told %q, %v, want %q", text[:n], err, state)
	}
}
