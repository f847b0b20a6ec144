package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fakeSite is as much of notesd as the load needs, in this process.
type fakeSite struct {
	*http.ServeMux
	mu        sync.Mutex        // guards what follows
	notes     map[string]string // owners by id
	people    map[string]bool
	made      int
	addresses map[string]bool // that sign in
}

func newFakeSite(t *testing.T) *fakeSite {
	s := &fakeSite{ServeMux: http.NewServeMux(), notes: map[string]string{}, people: map[string]bool{},
		addresses: map[string]bool{}}
	s.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"success":true,"message":"API is healthy"}`)
	})
	credentials := func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Email, Password string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Email == "" || len(in.Password) < 8 {
			t.Errorf("credentials %+v, %v", in, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.URL.Path == "/api/auth/login" {
			s.addresses[r.RemoteAddr[:strings.LastIndexByte(r.RemoteAddr, ':')]] = true
			if !s.people[in.Email] {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
		}
		s.people[in.Email] = true
		http.SetCookie(w, &http.Cookie{Name: "sessionId", Value: in.Email})
	}
	s.HandleFunc("POST /api/auth/register", credentials)
	s.HandleFunc("POST /api/auth/login", credentials)
	s.HandleFunc("POST /api/notes", s.owned(s.create))
	s.HandleFunc("GET /api/notes", s.owned(s.list))
	s.HandleFunc("GET /api/notes/{id}", s.owned(func(w http.ResponseWriter, r *http.Request, owner string) {
		if s.notes[r.PathValue("id")] != owner {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	s.HandleFunc("DELETE /api/notes/{id}", s.owned(func(_ http.ResponseWriter, r *http.Request, _ string) {
		delete(s.notes, r.PathValue("id"))
	}))
	return s
}

// owned is handle for whoever is signed in, one at a time.
func (s *fakeSite) owned(handle func(w http.ResponseWriter, r *http.Request, owner string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("sessionId")
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil || !s.people[cookie.Value] {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handle(w, r, cookie.Value)
	}
}

func (s *fakeSite) create(w http.ResponseWriter, r *http.Request, owner string) {
	var in struct{ Title, Content string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in.Content) != noteBytes {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.made++
	id := fmt.Sprint("note-", s.made)
	s.notes[id] = owner
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"success":true,"data":{"id":%q}}`, id)
}

func (s *fakeSite) list(w http.ResponseWriter, r *http.Request, owner string) {
	var out struct{ Data []map[string]string }
	for id, who := range s.notes {
		if who == owner && len(out.Data) < 50 {
			out.Data = append(out.Data, map[string]string{"id": id})
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": out.Data})
}

// ran is what a run of the command left behind.
type ran struct {
	text    string // on standard output
	said    string // on standard error
	reports []Report
	err     error
}

// runBench runs the command. It allows a late generator: other tests use the machine, too.
func runBench(t *testing.T, ctx context.Context, args ...string) ran {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "report.json")
	args = append(args, "-allow-late", "-json", file, "-svg", filepath.Join(dir, "plots"), "-markdown",
		filepath.Join(dir, "B.md"),
		"-dir", dir)
	o, err := Parse(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	r := ran{err: Run(ctx, o, Program{Executable: binary, Version: "test", Arguments: args, Out: &out, Progress: &said,
		Faults: true})}
	r.text, r.said = out.String(), said.String()
	if left, err := filepath.Glob(filepath.Join(dir, "notesd-bench*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if left, err := filepath.Glob("/dev/shm/notesd-bench*/log"); err == nil && len(left) > 0 {
		t.Logf("logs in memory, of this or another run: %v", left)
	}
	if r.err != nil {
		return r
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &r.reports)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, report := range r.reports {
		for _, p := range report.Plots {
			svg, err := os.ReadFile(filepath.Join(dir, "plots", report.plotFile(p)))
			if err != nil {
				t.Fatal(err)
			}
			circles(t, svg)
		}
	}
	return r
}

// sound fails the test unless every run did what it was to do.
func (r ran) sound(t *testing.T, runs int) {
	t.Helper()
	if r.err != nil {
		t.Fatalf("%v\n%s", r.err, r.said)
	}
	seen, good := 0, 0
	for _, report := range r.reports {
		for _, m := range report.Runs {
			seen++
			good += m.All.Good
			if m.All.Errors > 0 || m.All.Failed > 0 || m.All.Unexplained > 0 {
				t.Errorf("%s, %s, round %d: %+v", m.Arm, m.Label, m.Round, m)
			}
		}
		if !strings.Contains(r.text, "## "+report.title()+"\n") {
			t.Errorf("no %s in the report:\n%s", report.title(), r.text)
		}
	}
	if good == 0 || runs > 0 && seen != runs {
		t.Errorf("%d runs with %d good answers, want %d and some", seen, good, runs)
	}
}

// Loads on a server that runs already: everything the load made is gone afterwards.
func TestGiven(t *testing.T) {
	site := newFakeSite(t)
	site.HandleFunc("GET /api/fault/panic", func(w http.ResponseWriter,
		_ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	})
	server := httptest.NewServer(site)
	defer server.Close()
	for name, args := range map[string]string{
		"closed":   "closed -c 4 -d 200ms -work mix -work search",
		"sign-in":  "closed -c 4 -d 200ms -work sign-in",
		"open":     "open -rate 300 -d 300ms -work mix -inject /api/fault/panic=0.5",
		"fixed":    "open -rate 300 -d 300ms -work read -fixed",
		"capacity": "capacity -d 100ms -c 8 -work health",
		"overload": "overload -d 100ms -capacity 200 -loads 0.7,4 -rounds 2 -work read",
		"fairness": "fairness -d 200ms -capacity 500 -people 3 -rounds 1",
		"storm":    "storm -d 100ms -c 80 -rounds 1 -work health",
	} {
		t.Run(name, func(t *testing.T) {
			r := runBench(t, t.Context(), strings.Fields(args+" -notes 3 -url "+server.URL)...)
			r.sound(t, 0)
			site.mu.Lock()
			defer site.mu.Unlock()
			if len(site.notes) > 0 {
				t.Errorf("%d notes are left", len(site.notes))
			}
			report := r.reports[0]
			switch m := report.Medians; name {
			case "sign-in":
				if len(site.addresses) != 4 {
					t.Errorf("sign-ins from %v, want an address for each of 4 connections", site.addresses)
				}
			case "open":
				classes := map[string]Stats{}
				sent := 0
				for _, f := range m[0].Classes {
					classes[f.Class] = f
					sent += f.Sent
				}
				f := classes["/api/fault/panic"]
				if f.Failed == 0 || f.Failed != f.Sent || f.Statuses[500] != f.Sent || f.Sent < sent/3 ||
					m[0].All.Sent != sent-f.Sent {
					t.Errorf("injected: %+v of %d", f, sent)
				}
			case "overload":
				if m[1].Rate != 800 || m[1].Label != "4 C" || len(report.Plots) != 2 || len(report.Runs) != 4 ||
					len(report.Goals) != 7 {
					t.Errorf("medians %+v, %d plots, %d runs, goals %v", m, len(report.Plots), len(report.Runs),
						report.Goals)
				}
			case "fairness":
				if f := m[1].Classes; len(f) != 2 || f[0].Class != otherPeople || f[1].Sent < 2*f[0].Sent {
					t.Errorf("classes %+v, want the greedy one to send several times as much", f)
				}
			case "storm":
				if m[1].Probes == 0 || m[1].ProbeFail > 0 || len(report.Goals) != 4 {
					t.Errorf("%d probes, %d failed, goals %v", m[1].Probes, m[1].ProbeFail, report.Goals)
				}
			case "capacity":
				if report.Capacities["target"] <= 0 {
					t.Errorf("capacities %v", report.Capacities)
				}
			}
		})
	}
}

// A server that turns everything away: counted, unexplained refusals too.
func TestRefusing(t *testing.T) {
	site := newFakeSite(t)
	site.HandleFunc("GET /api/notes/full", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"reason":"queue_full"}`)
	})
	server := httptest.NewServer(site)
	defer server.Close()
	r := runBench(t, t.Context(), "open", "-rate", "200", "-d", "200ms", "-work", "health", "-inject",
		"/api/notes/full=0.5", "-url", server.URL)
	if r.err != nil {
		t.Fatal(r.err)
	}
	for _, f := range r.reports[0].Medians[0].Classes {
		if f.Class == "/api/notes/full" && (f.Refused == 0 || f.Unexplained != f.Refused ||
			f.Reasons["queue_full"] != f.Refused) {
			t.Errorf("%+v, want refusals with a reason and no Retry-After", f)
		}
	}
}

// The real thing: servers started for every turn, and gone afterwards.
func TestServers(t *testing.T) {
	for name, test := range map[string]struct {
		args string
		runs int
	}{
		"compare": {"compare -d 200ms -c 8 -rounds 1 -people 1 -notes 3 -work mix", 2},
		"overload": {"overload -d 200ms -rounds 1 -people 1 -notes 3 -capacity 100 -loads 4 -arms sharded,unbounded",
			2},
		"cost":   {"cost -d 200ms -rounds 2 -people 1 -notes 3 -capacity 100", 4},
		"panics": {"panics -d 1100ms -rounds 1 -panics 5 -people 1 -notes 3 -capacity 100", 3},
		"drain":  {"drain -d 1200ms -rounds 2 -people 1 -notes 3 -capacity 100", 2},
		"scale": {"scale -d 300ms -c 8 -rounds 1 -people 1 -notes 3 -work health",
			len(coreCounts(thisMachine().Cores))},
	} {
		t.Run(name, func(t *testing.T) {
			r := runBench(t, t.Context(), strings.Fields(test.args)...)
			r.sound(t, test.runs)
			for _, g := range r.reports[0].Goals {
				exact := strings.HasPrefix(g.What, "slots") || strings.HasPrefix(g.What, "panics ") // whatever else the machine does
				if g.Measured == "" && name != "overload" || exact && g.Verdict == missed {
					t.Errorf("goal %+v", g)
				}
			}
			for _, m := range r.reports[0].Runs {
				if m.PeakRSS < 5<<20 || m.GeneratorCores == 0 {
					t.Errorf("%s: peak of memory %d, generator %v cores", m.Arm, m.PeakRSS, m.GeneratorCores)
				}
			}
		})
	}
}

// With -strict a goal that is missed is an error; without, it is only printed.
func TestStrict(t *testing.T) {
	args := strings.Fields("drain -d 1100ms -rounds 1 -people 1 -notes 3 -capacity 50 -allow-late") // which are not 50 drains
	if r := runBench(t, t.Context(), args...); r.err != nil || !strings.Contains(r.text, "**missed**") {
		t.Errorf("Run() = %v, want a miss and no error:\n%s", r.err, r.text)
	}
	if r := runBench(t, t.Context(), append(args, "-strict")...); !errors.Is(r.err, ErrMissed) ||
		!strings.Contains(r.err.Error(), "drains") {
		t.Errorf("Run() with -strict = %v, want ErrMissed and which", r.err)
	}
}

// What needs faults is refused by a program that has none, and the error names the make target.
func TestNoFaults(t *testing.T) {
	for _, args := range []string{"panics", "cost", "overload -arms sharded,unbounded"} {
		o, err := Parse(strings.Fields(args), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		err = Run(t.Context(), o, Program{Executable: binary, Out: io.Discard, Progress: io.Discard})
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "make prove NAME="+o.scenario.name) {
			t.Errorf("bench %s = %v, want an ErrUsage that names the make target", args, err)
		}
	}
}

func TestServerDoesNotStart(t *testing.T) {
	r := runBench(t, t.Context(), "closed", "-d", "200ms", "-set", "MAX_WORKERS=0")
	if r.err == nil || !strings.Contains(r.err.Error(), "MAX_WORKERS") {
		t.Errorf("Run() = %v, want the server's own words", r.err)
	}
}

// Interrupted in the middle, it ends at once and leaves nothing.
func TestInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	time.AfterFunc(800*time.Millisecond, func() { interrupt(why) })
	began := time.Now()
	r := runBench(t, ctx, "closed", "-d", "1h", "-people", "1", "-notes", "1")
	if !errors.Is(r.err, why) || time.Since(began) > 20*time.Second {
		t.Errorf("Run() = %v after %v, want %v", r.err, time.Since(began), why)
	}
}

// A process that ends under load is an error with its last words.
func TestServerEnds(t *testing.T) {
	s := &Testbed{executable: binary, root: t.TempDir()}
	if err := os.Mkdir(s.origin(), 0o700); err != nil {
		t.Fatal(err)
	}
	on, err := s.open(t.Context(), Arm{Name: "sharded"})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = on.process.cmd.Process.Kill() })
	p := &Plan{}
	p.Add("health", 1, []Request{Get("x", "/api/health", "")})
	_, err = on.measure(t.Context(), Load{plan: p, connections: 2, measured: 400 * time.Millisecond, maxRequests: 1_000_000},
		"")
	if err == nil || !strings.Contains(err.Error(), "ended under load: signal: killed") ||
		!strings.Contains(err.Error(), "listening") {
		t.Errorf("measure() = %v, want that it was killed, and its last words", err)
	}
	if err := on.close(); err != nil {
		t.Error(err)
	}
}

func TestProcessFigures(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	ballast := make([]byte, 64<<20)
	for began := CPUTime(); CPUTime()-began < 100*time.Millisecond; {
		for i := 0; i < len(ballast); i += 4096 {
			ballast[i]++
		}
	}
	after, err := cpuTime(os.Getpid())
	if used := after - before; err != nil || used < 90*time.Millisecond || used > 30*time.Second {
		t.Errorf("cpuTime() grew by %v, %v, want about 100ms", used, err)
	}
	if peak, err := PeakRSS(os.Getpid()); err != nil || peak < int64(len(ballast)) {
		t.Errorf("PeakRSS() = %d, %v, want %d at least", peak, err, len(ballast))
	}
	if _, err := cpuTime(-1); err == nil {
		t.Error("cpuTime of no process = nil error")
	}
	if _, err := PeakRSS(-1); err == nil {
		t.Error("peakRSS of no process = nil error")
	}
}
