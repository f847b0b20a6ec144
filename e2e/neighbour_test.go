package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// neighbourEnv is the environment variable that makes a process of this test binary a neighbour.
const neighbourEnv = "SOAK_NEIGHBOUR"

// A neighbour is what a process beside the people's does: it attacks their server, or it only
// takes CPU time. Attackers make and read bodies of 9 MB. In the people's own process, waits for
// the garbage collector would be measured as the server's, and waits for a core would be, too, if
// the attackers had the people's priority.
type neighbour struct {
	URL   string
	Apart bool // attackers have addresses of their own
	Nice  int
	Burns float64 // cores to keep busy; 0: attack
}

// An onslaught is what became of attacks.
type onslaught struct {
	mu      sync.Mutex                // guards Answers
	Answers map[string]map[string]int // number of answers, by attack and status
	Cores   float64                   // cores that the neighbour kept busy
}

// neighbourNice is the lowest priority.
const neighbourNice = 19

// A runningNeighbour is a running neighbour.
type runningNeighbour struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Closer // its end ends the neighbour
	out *json.Decoder
}

// beside starts a neighbour and returns when it has begun.
func (s *soak) beside(n neighbour) *runningNeighbour {
	s.t.Helper()
	n.URL, n.Apart = s.url, s.apart
	text, err := json.Marshal(n)
	if err != nil {
		s.t.Fatal(err)
	}
	// Threads have priorities, and not processes: all threads of a new process get that of nice.
	cmd := exec.CommandContext(s.t.Context(), "nice", "-n", strconv.Itoa(n.Nice), os.Args[0], "-test.run=^TestNeighbour$")
	cmd.Env = append(os.Environ(), neighbourEnv+"="+string(text))
	cmd.Stderr = s.t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	r := &runningNeighbour{s.t, cmd, in, json.NewDecoder(out)}
	var begun bool
	if err := r.out.Decode(&begun); err != nil {
		s.t.Fatalf("the neighbour did not begin: %v", err)
	}
	return r
}

// end ends the neighbour and returns what became of its attacks.
func (r *runningNeighbour) end() *onslaught {
	r.t.Helper()
	o := &onslaught{}
	if err := errors.Join(r.in.Close(), r.out.Decode(o)); err != nil {
		r.t.Errorf("the neighbour has not told what it did: %v", err)
	}
	_ = r.cmd.Process.Kill() // it has done all it had to
	_ = r.cmd.Wait()
	return o
}

// TestNeighbour is the neighbour that TestSoak starts.
func TestNeighbour(t *testing.T) {
	text := os.Getenv(neighbourEnv)
	if text == "" {
		t.Skip("TestSoak runs it")
	}
	var n neighbour
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	run := func() { burn(ctx, n.Burns) }
	o := &onslaught{Answers: map[string]map[string]int{}}
	if n.Burns == 0 {
		run = attackAll(ctx, &soak{t: t, url: n.URL, apart: n.Apart}, o)
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(true); err != nil {
		t.Fatal(err)
	}
	began, before := time.Now(), cpuTime()
	run()
	o.Cores = float64(cpuTime()-before) / float64(time.Since(began))
	if err := out.Encode(o); err != nil {
		t.Fatal(err)
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it fails for no process
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuTimeOf is what another process has used.
func cpuTimeOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Error(err)
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from the third on: proc_pid_stat(5)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / 100 // USER_HZ
}

// burn keeps so many cores busy until ctx ends.
func burn(ctx context.Context, cores float64) {
	began, before := time.Now(), cpuTime()
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for ctx.Err() == nil {
				if float64(cpuTime()-before) > cores*float64(time.Since(began)) {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	all.Wait()
}

// attackAll signs the attackers up, and returns a function that has them attack until ctx ends.
func attackAll(ctx context.Context, s *soak, o *onslaught) func() {
	var attackers []*attacker
	for i, a := range soakAttacks {
		c := s.visitor(3, i)
		c.post("/api/auth/register", credentials(attackerEmail(i), password)).want(http.StatusCreated)
		attackers = append(attackers, &attacker{s, c, i, a.name, o})
	}
	return func() {
		var all sync.WaitGroup
		for i, a := range soakAttacks {
			all.Go(func() {
				for ctx.Err() == nil {
					a.attack(ctx, attackers[i])
					pauseFor(ctx, 20*time.Millisecond)
				}
			})
		}
		all.Wait()
	}
}

func attackerEmail(i int) string { return fmt.Sprintf("attacker%d@example.com", i) }

// An attacker is somebody with an account and bad manners.
type attacker struct {
	*soak
	c    *client
	i    int
	name string
	o    *onslaught
}

// try sends a request and counts its answer.
func (a *attacker) try(method, path string, body any, headers ...string) reply {
	r, err := a.c.try(method, path, body, headers...)
	a.count(r.status, err)
	return r
}

func (a *attacker) count(status int, err error) {
	what := fmt.Sprint(status)
	if err != nil {
		what = "no answer"
	}
	a.o.mu.Lock()
	defer a.o.mu.Unlock()
	if a.o.Answers[a.name] == nil {
		a.o.Answers[a.name] = map[string]int{}
	}
	a.o.Answers[a.name][what]++
}

// open opens n connections, writes text on each, and holds them without a
// further byte, read or written, for a while.
func (a *attacker) open(ctx context.Context, n int, text string) {
	var open []net.Conn
	for j := range n {
		conn, err := a.dialer(4, a.i*50+j%50).DialContext(ctx, "tcp", strings.TrimPrefix(a.url, "http://"))
		if err != nil {
			break
		}
		_ = conn.(*net.TCPConn).SetReadBuffer(4096) // or the kernel takes what the attacker does not
		_, _ = io.WriteString(conn, text)
		open = append(open, conn)
	}
	pauseFor(ctx, 2*time.Second)
	for _, conn := range open {
		_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		line, err := bufio.NewReader(conn).ReadString('\n')
		status := 0
		if _, e := fmt.Sscanf(line, "HTTP/1.1 %d", &status); e != nil && errors.Is(err, io.EOF) {
			a.count(0, err)
		} else {
			a.count(status, nil)
		}
		_ = conn.Close()
	}
}

// raw is a request as it stands on the wire.
func (a *attacker) raw(method, path string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, strings.TrimPrefix(a.url, "http://"))
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	return b.String() + "\r\n"
}

// soakAttacks are the kinds of attacks, each a step that is repeated.
var soakAttacks = []struct {
	name   string
	attack func(context.Context, *attacker)
}{
	{"long needles in a long note", func(ctx context.Context, a *attacker) {
		if a.try(http.MethodGet, "/api/notes?limit=1", nil).status == http.StatusOK {
			a.try(http.MethodPost, "/api/notes", note{Title: "hay", Content: strings.Repeat("a", 2_000_000)})
		}
		for _, n := range []int{10_000, 999, 501} {
			a.try(http.MethodGet, "/api/notes?limit=1&search="+strings.Repeat("a", n/2)+"b"+strings.Repeat("a", n/2), nil)
		}
	}},
	{"large answers that nobody reads", func(ctx context.Context, a *attacker) {
		id := a.try(http.MethodPost, "/api/notes", note{Title: "large", Content: strings.Repeat("Eight ch", 1_100_000)})
		if id.status == http.StatusCreated {
			a.open(ctx, 8, a.raw(http.MethodGet, "/api/notes/"+id.note().ID, "Cookie: "+a.c.cookie()))
			a.try(http.MethodDelete, "/api/notes/"+id.note().ID, nil)
		}
	}},
	{"large notes without ASCII", func(ctx context.Context, a *attacker) {
		text := strings.Repeat("ﷺİẞǰΐ", 9_000_000/len("ﷺİẞǰΐ"))
		if r := a.try(http.MethodPost, "/api/notes", note{Title: "ﷺ", Content: text}); r.status == http.StatusCreated {
			a.try(http.MethodDelete, "/api/notes/"+r.note().ID, nil)
		}
	}},
	{"long addresses and passwords at sign-in", func(ctx context.Context, a *attacker) {
		a.try(http.MethodPost, "/api/auth/login", credentials(strings.Repeat("é", 1_000_000)+"@example.com", "x"))
		a.try(http.MethodPost, "/api/auth/login", credentials("person1@example.com", strings.Repeat("x", 1_000_000)))
	}},
	{"wrong passwords", func(ctx context.Context, a *attacker) {
		a.try(http.MethodPost, "/api/auth/login", credentials(fmt.Sprintf("nobody%d@example.com", rand.IntN(1_000_000)), "wrong password"))
	}},
	{"sign-ups", func(ctx context.Context, a *attacker) {
		a.try(http.MethodPost, "/api/auth/register", credentials(fmt.Sprintf("new%d@example.com", rand.IntN(1<<40)), password))
	}},
	{"ten thousand tags", func(ctx context.Context, a *attacker) {
		a.try(http.MethodGet, "/api/notes?tags="+strings.Repeat("tag,", 10_000), nil)
	}},
	{"sessions without end", func(ctx context.Context, a *attacker) {
		a.try(http.MethodPost, "/api/auth/login", credentials(attackerEmail(a.i), password))
	}},
	{"notes made and deleted", func(ctx context.Context, a *attacker) {
		if r := a.try(http.MethodPost, "/api/notes", note{Title: "short", Content: "lived"}); r.status == http.StatusCreated {
			a.try(http.MethodDelete, "/api/notes/"+r.note().ID, nil)
		}
	}},
	{"paths, origins and methods that are none", func(ctx context.Context, a *attacker) {
		a.try(http.MethodGet, "/api/nothing/"+strings.Repeat("x", 2000), nil)
		a.try(http.MethodPost, "/api/notes", note{Title: "x"}, "Origin", "https://elsewhere.example")
		a.try(http.MethodOptions, "/api/notes", nil)
		a.try(strings.Repeat("M", 30_000), "/api/notes", nil)
		a.try(http.MethodGet, "/api/runtime", nil, "Authorization", "Bearer guess")
	}},
	{"bodies that are announced and do not come", func(ctx context.Context, a *attacker) {
		a.open(ctx, 50, a.raw(http.MethodPost, "/api/auth/login", "Content-Type: application/json", "Content-Length: 10485760")+"{")
	}},
	{"headers that do not end", func(ctx context.Context, a *attacker) {
		a.open(ctx, 300, "GET /api/notes HTTP/1.1\r\nHost: x\r\n")
	}},
	{"cookies of others", func(ctx context.Context, a *attacker) {
		a.try(http.MethodGet, "/api/notes", nil, "Cookie", "sessionId="+strings.Repeat("x", 43)+"; sessionId="+strings.Repeat("y", 43))
	}},
	{"conditions without end", func(ctx context.Context, a *attacker) {
		a.try(http.MethodGet, "/api/notes?limit=1", nil, "If-None-Match", strings.Repeat(`"x",`, 5000))
	}},
}
