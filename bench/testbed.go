package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Testbed runs loads on servers. It either starts a server for each turn, all from the same
// state, or uses one that is already running. The users and their notes are made once.
type Testbed struct {
	executable string
	settings   []string // settings of every server that it starts
	host       string   // the Host header
	users      []User

	given netip.AddrPort // the server that is already running
	url   string         // URL of that server; empty: servers are started
	root  string         // directory of the servers; its origin is copied for every turn
	turns int
}

// NewTestbed makes users with their own notes, on the server at o.URL or on one that it starts from
// executable.
func NewTestbed(ctx context.Context, o Options, executable string) (b *Testbed, err error) {
	b = &Testbed{executable: executable, settings: o.Settings, host: "127.0.0.1"}
	if o.URL != "" {
		target, err := checkTarget(ctx, o.URL, o.AllowRemote)
		if err != nil {
			return nil, err
		}
		b.given, b.url, b.host = target.addr, target.url, target.host
		b.users, err = AddUsers(ctx, b.url, o.People, o.NotesEach)
		return b, err
	}
	if b.root, err = os.MkdirTemp(o.Dir, "notesd-bench"); err != nil {
		return nil, err
	}
	if err := b.prepare(ctx, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.root))
	}
	return b, nil
}

// prepare makes the state from which every turn starts.
func (b *Testbed) prepare(ctx context.Context, o Options) error {
	if err := os.Mkdir(b.origin(), 0o700); err != nil {
		return err
	}
	p, err := StartProcess(ctx, b.executable, b.origin(), b.settings)
	if err != nil {
		return err
	}
	b.users, err = AddUsers(ctx, p.url, o.People, o.NotesEach)
	return errors.Join(err, p.Stop())
}

// AddUsers signs up users on the server at url. Each has so many notes.
func AddUsers(ctx context.Context, url string, users, notes int) ([]User, error) {
	client := NewClient(url)
	defer client.Close()
	return client.addUsers(ctx, users, notes)
}

func (b *Testbed) origin() string { return filepath.Join(b.root, "origin") }

// With returns a testbed with the same state and another program. Its turns must not run at the
// same time as those of b.
func (b *Testbed) With(executable string) *Testbed {
	other := *b
	other.executable = executable
	return &other
}

// Remove removes the testbed's directory. A database elsewhere stays as it is.
func (b *Testbed) Remove() error { return os.RemoveAll(b.root) }

// ClosedLoad returns a closed loop of o.Connections clients that do the work.
func (b *Testbed) ClosedLoad(o Options, w Work) Load {
	l := NewClosedLoad(planFor(b.host, b.users, w, nil), o.Connections, o.Duration)
	l.retry, l.maxRequests = o.Retry, o.Requests
	return l
}

// close removes what the testbed has made. A database in the directory is removed with it. In any
// other database, and on a server that was already running, it deletes the notes.
func (b *Testbed) close(ctx context.Context) error {
	if b.url != "" {
		return b.deleteNotes(ctx, b.url)
	}
	var err error
	if slices.ContainsFunc(b.settings, func(set string) bool { return strings.HasPrefix(set, "DATABASE_URL=") }) {
		err = b.deleteFromDatabase(ctx)
	}
	return errors.Join(err, os.RemoveAll(b.root))
}

func (b *Testbed) deleteNotes(ctx context.Context, url string) error {
	client := NewClient(url)
	defer client.Close()
	return client.deleteAll(ctx, b.users)
}

// deleteFromDatabase starts a server once more, to delete the notes through it.
func (b *Testbed) deleteFromDatabase(ctx context.Context) error {
	p, err := StartProcess(context.WithoutCancel(ctx), b.executable, b.origin(), b.settings)
	if err != nil {
		return err
	}
	return errors.Join(b.deleteNotes(ctx, p.url), p.Stop())
}

// A target is a server that can be put under load.
type target struct {
	addr    netip.AddrPort
	process *Process // nil: it was not started here
	dir     string   // the directory of the process
}

// open starts the server of an arm, or uses the one that is already running.
func (b *Testbed) open(ctx context.Context, arm Arm) (*target, error) {
	if b.url != "" {
		return &target{addr: b.given}, nil
	}
	b.turns++
	dir := filepath.Join(b.root, fmt.Sprintf("turn-%d", b.turns))
	if err := copyFiles(dir, b.origin()); err != nil {
		return nil, err
	}
	p, err := StartProcess(ctx, b.executable, dir, slices.Concat(arm.Settings, b.settings))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", arm.Name, err)
	}
	p.awaitTrust(ctx)
	t := &target{process: p, dir: dir}
	if t.addr, err = p.Address(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// close stops the server if it was started here.
func (t *target) close() error {
	if t.process == nil {
		return nil
	}
	return errors.Join(t.process.Stop(), os.RemoveAll(t.dir))
}

// copyFiles makes the directory to with a copy of the files in from.
func copyFiles(to, from string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}

// Measure puts a load on the process.
func (p *Process) Measure(ctx context.Context, l Load) (Measurement, error) {
	addr, err := p.Address()
	if err != nil {
		return Measurement{}, err
	}
	return (&target{addr: addr, process: p}).measure(ctx, l, "")
}

// measure puts a load on an open target.
func (t *target) measure(ctx context.Context, l Load, injected string) (Measurement, error) {
	var watched sync.WaitGroup
	defer watched.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if t.process != nil {
		watched.Go(func() { t.process.watch(ctx) })
	}
	var before, after usage
	probes := prober{addr: t.addr}
	o := l.run(ctx, wires(ctx, t.addr), func() {
		before = t.usage()
		if t.process != nil {
			// On an error, the peak since the start is measured.
			_ = forgetPeak(t.process.cmd.Process.Pid)
		}
		if l.probed {
			probes.start()
		}
	}, func() {
		after = t.usage()
		probes.stop()
	})
	if t.process != nil && t.process.hasEnded() {
		return Measurement{}, fmt.Errorf("the server ended under load: %v; its last words:\n%s",
			t.process.cmd.ProcessState,
			t.process.lastWords())
	}
	r := newMeasurement(l, o, usage{after.server - before.server, after.generator - before.generator, after.peakRSS},
		injected)
	r.ProbeMs, r.Probes, r.ProbeFail = ms(int64(probes.slowest)), probes.sent, probes.failed
	return r, context.Cause(ctx)
}

// runtimeState is the part of /api/runtime that the proofs read.
type runtimeState struct {
	Pool struct {
		Workers, Busy, Queued, Outside int
		Panics, Restarts               uint64
		Shards                         []struct {
			Workers []struct {
				ID    uint64
				State string
			}
		}
		Quarantine []struct {
			Route       string
			Quarantined bool
		}
	}
}

// runtime returns the state of a server that was started here.
func (t *target) runtime(ctx context.Context) (state runtimeState, err error) {
	admin := t.process.AdminClient()
	defer admin.Close()
	_, err = admin.Call(ctx, http.MethodGet, "/api/runtime", "", "", &state)
	return state, err
}

// usage returns what the processes have used so far.
func (t *target) usage() usage {
	u := usage{generator: CPUTime()}
	if t.process != nil {
		pid := t.process.cmd.Process.Pid
		u.server, _ = cpuTime(pid) // 0 if it has ended; the run fails then
		u.peakRSS, _ = PeakRSS(pid)
	}
	return u
}

// watch bounds the log of the process until ctx ends.
func (p *Process) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.boundLog()
		case <-ctx.Done():
			return
		}
	}
}

// probeEvery is the time between two health probes.
const probeEvery = 100 * time.Millisecond

// A prober probes health as an orchestrator does: each probe has a connection of its own.
type prober struct {
	addr         netip.AddrPort
	quit         context.CancelFunc
	running      sync.WaitGroup
	sent, failed int
	slowest      time.Duration
}

func (p *prober) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.quit = cancel
	p.running.Go(func() {
		for ctx.Err() == nil {
			p.probe()
			Pause(ctx, probeEvery)
		}
	})
}

func (p *prober) probe() {
	w := &wire{addr: p.addr.String()}
	defer w.close()
	began := time.Now()
	a, err := w.exchange(rawRequest("GET", p.addr.String(), "/api/health", "", ""))
	p.sent++
	if err != nil || !a.good() {
		p.failed++
	}
	p.slowest = max(p.slowest, time.Since(began))
}

// stop waits for the last probe. It does nothing if there is no probing.
func (p *prober) stop() {
	if p.quit != nil {
		p.quit()
		p.running.Wait()
	}
}
