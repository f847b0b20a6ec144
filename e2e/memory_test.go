package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/bench"
)

const (
	memoryLimit = 64 << 20
	tenfold     = 10   // clients that post, and as many that list: ten times what is served at once
	lightOnes   = 4    // clients with everyday requests, beside them
	idleConns   = 3000 // connections that are left open
	smallNotes  = 1500 // of 800 bytes: a list of more than a part
	largeNotes  = 8    // of 400 KB
)

// In a container of 64 MiB, ten times as many large bodies and unpaged lists as
// it can serve, and 3000 idle connections, kill nothing: probes are answered,
// all refusals say why, and afterwards it is as quick as before.
func TestMemoryContainer(t *testing.T) {
	needEngine(t)
	c, id := startContainer(t, "--memory", "64m", "--memory-swap", "64m", "--cpus", "1", "-e", "RATE_LIMIT_MAX_REQUESTS=0",
		"-e", "LOG_LEVEL=warn")
	proof := newProof(t, "memory")
	s := newSqueeze(c, func() bool { it := inspect(t, id)[0].State; return it.Running && !it.OOMKilled })
	s.seconds = 2 * time.Second
	if os.Getenv("PROOFS") != "" {
		s.seconds = 20 * time.Second
	}
	s.fill()
	s.run(proof, storm{name: "1 MB, lists of small notes", body: 1_000_000, list: s.small})
	s.run(proof, storm{name: "3 MB, lists of large notes", body: 3_000_000, list: s.large})
	s.run(proof, storm{name: "10 MB, lists of small notes", body: 10_000_000, list: s.small})
	s.run(proof, storm{name: "3000 idle connections, 1 MB, lists of small notes", body: 1_000_000, list: s.small, idle: idleConns})
	proof.Tables = append(proof.Tables, s.table, s.goodput)
	proof.Notes = append(proof.Notes, fmt.Sprintf("A storm is %d clients that post notes of the size said, and %d that read the whole "+
		"list, one request after the other without a pause, for %v. Light requests are those of %d clients of one more person: "+
		"three pages of 20 notes, then a note of 300 bytes. The capacity for large work is what one client that posts and one that "+
		"lists get done. Clients and server share the machine.", tenfold, tenfold, s.seconds, lightOnes))
	publish(t, proof)
}

// The same without a container: GOMEMLIMIT is the limit, and the kernel's count
// of the process's own memory must stay near it.
func TestMemoryProcess(t *testing.T) {
	p := startUnraced(t, "GOMEMLIMIT=64MiB", "CLUSTER_MODE=false", "LOG_LEVEL=error")
	s := newSqueeze(p.visitor(), func() bool { return p.probe("/healthz") == http.StatusOK })
	s.seconds, s.used = time.Second, func() int64 { return anonymous(t, p.cmd.Process.Pid) }
	s.fill()
	proof := newProof(t, "memory of a process")
	s.run(proof, storm{name: "1 MB", body: 1_000_000, list: s.small})
	if !testing.Short() {
		s.run(proof, storm{name: "3 MB", body: 3_000_000, list: s.large})
	}
	t.Log(s.table.Rows, s.goodput.Rows)
	if most := int64(memoryLimit * 5 / 4); s.peak > most {
		t.Errorf("the process took %d bytes, want at most %d with GOMEMLIMIT=64MiB", s.peak, most)
	}
}

// Texts that grow when they are folded or encoded, or have no place to cut, stay within the limit, too:
// stored, read, changed, listed, or refused for want of memory.
func TestMemoryUnkindText(t *testing.T) {
	p := startUnraced(t, "GOMEMLIMIT=64MiB", "CLUSTER_MODE=false", "LOG_LEVEL=error")
	c := p.member("ada@example.com")
	ctx, stop := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	var peak int64
	watch.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			peak = max(peak, anonymous(t, p.cmd.Process.Pid))
		}
	})
	do := func(method, path string, in any) reply {
		t.Helper()
		r := c.call(method, path, in)
		var f failure
		if r.status >= http.StatusBadRequest {
			r.decode(&f)
		}
		if r.status >= http.StatusBadRequest && f.Reason == "" {
			t.Errorf("%s %s = %d %s, want that it is done, or refused with a reason", method, path, r.status, f.Reason)
		}
		return r
	}
	for _, text := range []string{"\U0001d160", "\u2028", "\u0301", "\x01", "語", "ᾼ"} {
		encoded, _ := json.Marshal(text)
		for _, size := range []int{1 << 20, 3 << 20} { // as JSON
			r := do(http.MethodPost, "/api/notes", note{Title: "unkind", Content: strings.Repeat(text, size/len(encoded))})
			if r.status != http.StatusCreated {
				continue
			}
			path := r.header.Get("Location")
			do(http.MethodGet, path, nil)
			do(http.MethodPatch, path, map[string]any{"title": "changed"})
			do(http.MethodGet, "/api/notes?limit=1", nil)
			do(http.MethodDelete, path, nil)
		}
	}
	stop()
	watch.Wait()
	t.Logf("the process took %d MiB at most", peak>>20)
	if most := int64(memoryLimit * 5 / 4); peak > most {
		t.Errorf("the process took %d bytes, want at most %d with GOMEMLIMIT=64MiB", peak, most)
	}
}

// anonymous is what a process holds that is no file's.
func anonymous(t *testing.T, pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(text)) {
		if kb, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

// A squeeze puts a server that has little memory under storms, and watches it.
type squeeze struct {
	t              testing.TB
	p              *process
	admin          *client
	small, large   *client // have many small notes, and few large ones
	writers        []*client
	light          *client
	alive          func() bool
	used           func() int64 // nil: what the server says its container uses
	seconds        time.Duration
	peak           int64 // of used
	table, goodput bench.Table
}

func newSqueeze(c *client, alive func() bool) *squeeze {
	t := c.t.(*testing.T)
	s := &squeeze{t: t, p: outside(t, c.url), alive: alive, admin: c.as("Authorization", "Bearer "+adminToken)}
	s.table = bench.Table{Title: "Storms", Head: []string{"bodies, lists", "peak memory (MB)", "stages", "notes posted", "lists read",
		"light requests", "slowest probe"}}
	s.goodput = bench.Table{Title: "Requests done a second", Head: []string{"bodies, lists", "large, capacity", "large, in the storm",
		"light, before", "light, in the storm", "light, afterwards"}}
	return s
}

// fill signs people up and gives them notes.
func (s *squeeze) fill() {
	s.t.Helper()
	person := func(name string) *client {
		c := s.p.visitor()
		s.await("a sign-up", func() bool {
			return c.post("/api/auth/register", credentials(name+"@example.com", password)).status == http.StatusCreated
		})
		return c
	}
	s.small, s.large, s.light = person("small"), person("large"), person("light")
	for i := range 3 {
		s.writers = append(s.writers, person(fmt.Sprint("writer", i)))
	}
	for range smallNotes {
		s.small.create("small", strings.Repeat("eight ch", 100))
	}
	for range largeNotes {
		s.await("a large note", func() bool {
			return s.large.post("/api/notes", note{Title: "large", Content: strings.Repeat("Eight ch", 50_000)}).status == http.StatusCreated
		})
	}
	for range 20 {
		s.light.create("light", "a few words")
	}
}

// await tries until done: a refusal says when, a second at the least.
func (s *squeeze) await(what string, done func() bool) {
	s.t.Helper()
	for range 10 {
		if done() {
			return
		}
		time.Sleep(time.Second)
	}
	s.t.Fatalf("no %s", what)
}

// A storm is large work by many.
type storm struct {
	name string
	body int     // bytes of a note that is posted
	list *client // whose list is read
	idle int     // connections left open
}

// run brings the storm, between two calms.
func (s *squeeze) run(proof *bench.Report, st storm) {
	s.t.Helper()
	calm := s.load(s.seconds/2, st, 0)
	single := s.load(s.seconds/2, st, 1)
	closeIdle := s.openIdle(st.idle)
	over := s.load(s.seconds, st, tenfold)
	closeIdle()
	after := s.recover(st, calm)

	promise := func(what, goal, measured string, met bool) {
		s.t.Helper()
		proof.Promise(st.name+": "+what, goal, measured, met)
		if !met {
			s.t.Errorf("%s: %s: %s, want %s", st.name, what, measured, goal)
		}
	}
	alive := s.alive()
	promise("killed for want of memory", "no", map[bool]string{true: "no", false: "yes"}[alive], alive)
	promise("probes without an answer", "0", fmt.Sprintf("%d of %d", over.probes-over.answered, over.probes), over.answered == over.probes)
	promise("refusals that don't say why, and other failures", "0", fmt.Sprint(over.bad, over.examples), over.bad == 0)
	cut := over.answers["listed"]["cut"]
	proof.Promise(st.name+": lists cut midway", "0", fmt.Sprint(cut), cut == 0)
	proof.Promise(st.name+": light requests done afterwards, of those before", "≥ 80 %",
		percent(after.rate("light"), calm.rate("light")), after.rate("light") >= 0.8*calm.rate("light"))
	if after.rate("light") < calm.rate("light")/10 { // what is less may be others' doing
		s.t.Errorf("%s: %.0f light requests a second afterwards, %.0f before", st.name, after.rate("light"), calm.rate("light"))
	}
	large := func(o *outcome) float64 { return o.rate("posted") + o.rate("listed") }
	proof.Promise(st.name+": large work done in the storm, of the capacity", "≥ 80 %", percent(large(over), large(single)),
		large(over) >= 0.8*large(single))
	s.peak = max(s.peak, over.peak)
	s.table.Rows = append(s.table.Rows, []string{st.name, fmt.Sprintf("%.1f", float64(over.peak)/1e6), over.stagesSeen(),
		over.counts("posted"), over.counts("listed"), over.counts("light"), over.slowest.Round(time.Millisecond).String()})
	s.goodput.Rows = append(s.goodput.Rows, []string{st.name, fmt.Sprintf("%.1f", large(single)), fmt.Sprintf("%.1f", large(over)),
		fmt.Sprintf("%.0f", calm.rate("light")), fmt.Sprintf("%.0f", over.rate("light")), fmt.Sprintf("%.0f", after.rate("light"))})
}

// recover is the load of light requests once it gets as much done as before, or
// the last of some tries: others use the machine, too.
func (s *squeeze) recover(st storm, before *outcome) (after *outcome) {
	for range 5 {
		time.Sleep(time.Second)
		if after = s.load(s.seconds/2, st, 0); after.rate("light") >= 0.8*before.rate("light") {
			break
		}
	}
	return after
}

func percent(part, of float64) string { return fmt.Sprintf("%.0f %%", 100*part/max(of, 1e-9)) }

// openIdle leaves connections open on which one request each was answered,
// from addresses of their own.
func (s *squeeze) openIdle(n int) (closeAll func()) {
	s.t.Helper()
	var open []*wire
	for i := range n {
		w := s.light.wire()
		dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/250), byte(1+i%250))}}
		conn, err := dialer.Dial("tcp", w.addr)
		if err != nil {
			s.t.Fatal(err)
		}
		w.use(conn)
		if r, err := w.exchange(http.MethodGet, "/healthz", "", nil); err != nil || r.status != http.StatusOK {
			s.t.Errorf("connection %d of %d: %d, %v", i+1, n, r.status, err)
		}
		open = append(open, w)
	}
	return func() {
		for _, w := range open {
			w.close()
		}
	}
}

// An outcome is what became of the requests of a load.
type outcome struct {
	took time.Duration

	mu               sync.Mutex                // guards what follows
	answers          map[string]map[string]int // by kind of request, and status with reason
	bad              int                       // neither done nor an explained refusal
	examples         []string                  // of those
	probes, answered int
	slowest          time.Duration // probe
	peak             int64
	stages           map[string]bool
}

// load is light requests, and in a storm large work by so many clients of each
// kind, for d.
func (s *squeeze) load(d time.Duration, st storm, each int) *outcome {
	o := &outcome{took: d, answers: map[string]map[string]int{}, stages: map[string]bool{}}
	ctx, stop := context.WithTimeout(s.t.Context(), d)
	defer stop()
	var clients sync.WaitGroup
	post := fmt.Sprintf(`{"title":"storm","content":%q}`, strings.Repeat("Eight ch", st.body/8))
	for i := range each {
		clients.Go(func() { o.repeat(ctx, s.writers[i%len(s.writers)], "posted", http.MethodPost, "/api/notes", post) })
		clients.Go(func() { o.repeat(ctx, st.list, "listed", http.MethodGet, "/api/notes", "") })
	}
	if each != 1 {
		for range lightOnes {
			clients.Go(func() { o.everyday(ctx, s.light) })
		}
	}
	clients.Go(func() { o.probe(ctx, s.light) })
	clients.Go(func() { s.watch(ctx, o) })
	clients.Wait()
	return o
}

// repeat sends one request again and again on one connection.
func (o *outcome) repeat(ctx context.Context, c *client, kind, method, path, body string) {
	w := c.wire()
	defer w.close()
	for ctx.Err() == nil {
		o.note(kind, w, method, path, body)
	}
}

func (o *outcome) everyday(ctx context.Context, c *client) {
	w := c.wire()
	defer w.close()
	post := fmt.Sprintf(`{"title":"light","content":%q}`, strings.Repeat("few words ", 30))
	for i := 0; ctx.Err() == nil; i++ {
		if i%4 == 0 {
			o.note("light", w, http.MethodPost, "/api/notes", post)
		} else {
			o.note("light", w, http.MethodGet, "/api/notes?limit=20", "")
		}
	}
}

// note sends a request and notes what became of it.
func (o *outcome) note(kind string, w *wire, method, path, body string) {
	r, err := w.do(method, path, body, "Accept-Encoding", "gzip")
	what, explained := "no answer", false
	if errors.Is(err, io.ErrUnexpectedEOF) {
		what, explained = "cut", kind == "listed" // a part of it found no turn: all that can be said then is that it is not whole
	}
	if err == nil {
		what, explained = fmt.Sprint(r.status), r.status < http.StatusBadRequest
	}
	if err == nil && !explained {
		var f failure
		r.decode(&f)
		what += " " + f.Reason
		explained = f.Reason != "" && r.header.Get("Retry-After") != ""
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.answers[kind] == nil {
		o.answers[kind] = map[string]int{}
	}
	o.answers[kind][what]++
	if !explained {
		o.bad++
		o.examples = append(o.examples[:min(len(o.examples), 3)], fmt.Sprintf("%s: %s, %v", kind, what, err))
	}
}

// probe asks for health ten times a second, on a new connection each time.
func (o *outcome) probe(ctx context.Context, c *client) {
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		w, began := c.wire(), time.Now()
		r, err := w.do(http.MethodGet, "/healthz", "")
		w.close()
		o.mu.Lock()
		o.probes++
		o.slowest = max(o.slowest, time.Since(began))
		if err == nil && r.status == http.StatusOK {
			o.answered++
		}
		o.mu.Unlock()
	}
}

// watch looks at the server's memory twenty times a second.
func (s *squeeze) watch(ctx context.Context, o *outcome) {
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		var state struct {
			Memory       struct{ CgroupUsed int64 }
			MemoryStages struct{ Stage string }
		}
		if s.used != nil {
			state.Memory.CgroupUsed = s.used()
		}
		r, err := s.admin.try(http.MethodGet, "/api/runtime", nil)
		if err == nil && r.status == http.StatusOK {
			used := state.Memory.CgroupUsed
			r.decode(&state)
			state.Memory.CgroupUsed = cmp.Or(used, state.Memory.CgroupUsed)
		}
		o.mu.Lock()
		o.peak = max(o.peak, state.Memory.CgroupUsed)
		o.stages[state.MemoryStages.Stage] = true
		o.mu.Unlock()
	}
}

// rate is how many requests of a kind were done a second.
func (o *outcome) rate(kind string) float64 {
	done := o.answers[kind]["200"] + o.answers[kind]["201"]
	return float64(done) / o.took.Seconds()
}

func (o *outcome) counts(kind string) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(o.answers[kind])) {
		parts = append(parts, fmt.Sprintf("%d × %s", o.answers[kind][what], what))
	}
	return strings.Join(parts, ", ")
}

func (o *outcome) stagesSeen() string {
	delete(o.stages, "") // where there was no answer
	return strings.Join(slices.Sorted(maps.Keys(o.stages)), ", ")
}
