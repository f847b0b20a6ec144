package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A footprint is what a server has in memory, in bytes.
type footprint struct{ resident, heap, stacks int64 }

// idle measures what connections cost that are open and idle, before their
// first request and after it.
func (g Growth) idle(ctx context.Context, root string, s *session) (err error) {
	s.progress.say(count(g.Idle, "idle connection"))
	if most := fileLimit(); g.Idle > most {
		return fmt.Errorf("%d idle connections: this process may have %d open (ulimit -n says how many files)", g.Idle, most)
	}
	dir := filepath.Join(root, "idle")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	p, err := startProcess(ctx, g.Notesd, dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	people, err := settleAt(ctx, p.url, 1, growthPage)
	if err != nil {
		return err
	}
	work := get(growthHost, firstPage, people[0].cookie)
	before, err := p.footprint(ctx, work)
	for falls := true; falls && err == nil; { // what the sign-up took is given back to the kernel bit by bit
		pause(ctx, time.Second)
		last := before
		before, err = p.footprint(ctx, work)
		falls = before.resident < last.resident
	}
	if err != nil {
		return err
	}
	opened, err := p.crowded(ctx, g.Idle, nil, work)
	if err != nil {
		return err
	}
	asked, err := p.crowded(ctx, g.Idle, work.raw, work)
	if err != nil {
		return err
	}
	s.idleTable(g.Idle, before, opened, asked)
	return nil
}

// crowded is the footprint with so many idle connections, each of which has
// made a request before, unless that is nil.
func (p *process) crowded(ctx context.Context, connections int, first []byte, work request) (f footprint, err error) {
	addr, err := p.address()
	if err != nil {
		return f, err
	}
	open := make([]wire, connections)
	defer func() {
		for i := range open {
			open[i].close()
		}
	}()
	for i := range open {
		w := &open[i]
		w.addr, w.from = addr.String(), sourceAddress(addr.Addr(), i)
		if err := w.open(); err != nil {
			return f, err
		}
		if first == nil {
			continue
		}
		if a, err := w.exchange(first); err != nil || !a.good() {
			return f, fmt.Errorf("idle connection %d of %d: status %d, %w", i+1, connections, a.status, err)
		}
	}
	return p.footprint(ctx, work)
}

func (s *session) idleTable(connections int, before, opened, asked footprint) {
	t := Table{Title: "Idle connections", Head: []string{count(connections, "connection"), "memory", "each", "Go's heap", "each",
		"stacks", "each"}}
	each := func(n int64) string { return whole(float64(n)/float64(connections)/(1<<10)) + " KB" }
	for _, row := range []struct {
		what string
		footprint
	}{{"before", before}, {"opened", opened}, {"after a first page each", asked}} {
		t.Rows = append(t.Rows, []string{row.what, megabytes(row.resident), each(row.resident - before.resident),
			megabytes(row.heap), each(row.heap - before.heap), megabytes(row.stacks), each(row.stacks - before.stacks)})
	}
	s.Tables = append(s.Tables, t)
	s.Notes = append(s.Notes, "Idle connections are to a server on SQLite without a memory limit, from as many addresses. All is "+
		"measured just after a collection of Go's; the kernel's buffers of a socket are in none of the figures.")
}

// footprint is what the server has in memory once Go has collected its garbage:
// it is kept at work until that has happened twice.
func (p *process) footprint(ctx context.Context, work request) (f footprint, err error) {
	asker := p.asker()
	defer asker.close()
	addr, err := p.address()
	if err != nil {
		return f, err
	}
	w := &wire{addr: addr.String()}
	defer w.close()
	collected := int64(-1)
	for {
		_, text, err := asker.exchange(ctx, http.MethodGet, "/metrics", "", "")
		if err != nil {
			return f, err
		}
		const times = "go_gc_duration_seconds_count"
		if collected < 0 {
			collected = metricIn(text, times)
		}
		if metricIn(text, times) >= collected+2 {
			f.heap, f.stacks = metricIn(text, "go_memstats_heap_alloc_bytes"), metricIn(text, "go_memstats_stack_inuse_bytes")
			f.resident, err = residentBytes(p.cmd.Process.Pid)
			return f, err
		}
		for range 10 {
			if a, err := w.exchange(work.raw); err != nil || !a.good() {
				return f, fmt.Errorf("beside idle connections: status %d, %w", a.status, err)
			}
		}
	}
}

// metricIn is the value of a metric without labels; 0 if it is not there.
func metricIn(text []byte, name string) int64 {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int64(f)
		}
	}
	return 0
}
