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

// A stage is where the loads run: servers that it starts itself, one for each
// turn, all from the same state; or one that runs already. People and their
// notes are set up once.
type stage struct {
	executable string
	settings   []string // of every server it starts
	host       string   // the Host header
	people     []person

	given netip.AddrPort // the server that runs already
	url   string         // of that server; empty: servers are started
	root  string         // a directory for them: origin, copied for every turn
	turns int
}

// newStage sets up people with notes of their own, in a given server or in one started for it.
func newStage(ctx context.Context, o Options, executable string) (s *stage, err error) {
	s = &stage{executable: executable, settings: o.Settings, host: "127.0.0.1"}
	if o.URL != "" {
		target, err := checkTarget(ctx, o.URL, o.AllowRemote)
		if err != nil {
			return nil, err
		}
		s.given, s.url, s.host = target.addr, target.url, target.host
		s.people, err = settleAt(ctx, s.url, o.People, o.NotesEach)
		return s, err
	}
	if s.root, err = os.MkdirTemp(o.Dir, "notesd-bench"); err != nil {
		return nil, err
	}
	if err := s.furnish(ctx, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.root))
	}
	return s, nil
}

// furnish makes the origin of every turn's state.
func (s *stage) furnish(ctx context.Context, o Options) error {
	if err := os.Mkdir(s.origin(), 0o700); err != nil {
		return err
	}
	p, err := startProcess(ctx, s.executable, s.origin(), s.settings)
	if err != nil {
		return err
	}
	s.people, err = settleAt(ctx, p.url, o.People, o.NotesEach)
	return errors.Join(err, p.stop())
}

func settleAt(ctx context.Context, url string, people, notes int) ([]person, error) {
	settlers := newSettlers(url)
	defer settlers.close()
	return settlers.settle(ctx, people, notes)
}

func (s *stage) origin() string { return filepath.Join(s.root, "origin") }

// close removes what the stage has made. What is in a database of its own goes
// with the directory; from any other the notes are deleted.
func (s *stage) close(ctx context.Context) error {
	if s.url != "" {
		return s.leave(ctx, s.url)
	}
	var err error
	if slices.ContainsFunc(s.settings, func(set string) bool { return strings.HasPrefix(set, "DATABASE_URL=") }) {
		err = s.leaveDatabase(ctx)
	}
	return errors.Join(err, os.RemoveAll(s.root))
}

func (s *stage) leave(ctx context.Context, url string) error {
	settlers := newSettlers(url)
	defer settlers.close()
	return settlers.leave(ctx, s.people)
}

// leaveDatabase starts a server once more, to delete the notes through it.
func (s *stage) leaveDatabase(ctx context.Context) error {
	p, err := startProcess(context.WithoutCancel(ctx), s.executable, s.origin(), s.settings)
	if err != nil {
		return err
	}
	return errors.Join(s.leave(ctx, p.url), p.stop())
}

// A target is a server that loads can be done to.
type target struct {
	addr    netip.AddrPort
	process *process // nil: not ours
	dir     string   // of the process
}

// open starts the server of an arm, or takes the one that runs already.
func (s *stage) open(ctx context.Context, arm Arm) (*target, error) {
	if s.url != "" {
		return &target{addr: s.given}, nil
	}
	s.turns++
	dir := filepath.Join(s.root, fmt.Sprintf("turn-%d", s.turns))
	if err := copyFiles(dir, s.origin()); err != nil {
		return nil, err
	}
	p, err := startProcess(ctx, s.executable, dir, slices.Concat(arm.Settings, s.settings))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", arm.Name, err)
	}
	p.awaitTrust(ctx)
	t := &target{process: p, dir: dir}
	if t.addr, err = p.address(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// close stops the server, if it is ours.
func (t *target) close() error {
	if t.process == nil {
		return nil
	}
	return errors.Join(t.process.stop(), os.RemoveAll(t.dir))
}

// copyFiles makes the directory to with what is in from.
func copyFiles(to, from string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}

// measure does a load to an open target.
func (t *target) measure(ctx context.Context, l load, injected string) (Measurement, error) {
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
			_ = forgetPeak(t.process.cmd.Process.Pid) // then it is the peak since the start
		}
		if l.probed {
			probes.start()
		}
	}, func() {
		after = t.usage()
		probes.stop()
	})
	if t.process != nil && t.process.hasEnded() {
		return Measurement{}, fmt.Errorf("the server ended under load: %v; its last words:\n%s", t.process.cmd.ProcessState,
			t.process.lastWords())
	}
	r := newMeasurement(l, o, usage{after.server - before.server, after.generator - before.generator, after.peakRSS},
		injected)
	r.ProbeMs, r.Probes, r.ProbeFail = ms(int64(probes.slowest)), probes.sent, probes.failed
	return r, context.Cause(ctx)
}

// runtimeState is what the proofs read of /api/runtime.
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

// runtime is the state of a server of ours.
func (t *target) runtime(ctx context.Context) (state runtimeState, err error) {
	asker := t.process.asker()
	defer asker.close()
	_, err = asker.call(ctx, http.MethodGet, "/api/runtime", "", "", &state)
	return state, err
}

// usage is what the processes have used so far.
func (t *target) usage() usage {
	u := usage{generator: CPUTime()}
	if t.process != nil {
		pid := t.process.cmd.Process.Pid
		u.server, _ = cpuTime(pid) // 0 when it has ended, and the run fails
		u.peakRSS, _ = peakRSS(pid)
	}
	return u
}

// watch keeps the log of the process within bounds until ctx ends.
func (p *process) watch(ctx context.Context) {
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

// A prober asks for health as an orchestrator does: every probe on a connection of its own.
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
			pause(ctx, probeEvery)
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

// stop waits for the last probe. It does nothing when there are none.
func (p *prober) stop() {
	if p.quit != nil {
		p.quit()
		p.running.Wait()
	}
}
