package lab

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

	"notesd/bench"
	"notesd/bench/format"
)

// A footprint is the memory of a server, in bytes.
type footprint struct{ resident, heap, stacks int64 }

// idle measures the cost of open and idle connections, before their first request and after it.
func (g Growth) idle(ctx context.Context, root string, s *bench.Session) (err error) {
	s.Progress.Say(format.Count(g.Idle, "idle connection"))
	if limit := bench.FileLimit(); g.Idle > limit {
		return fmt.Errorf("%d idle connections: this process may have %d open (ulimit -n says how many files)",
			g.Idle, limit)
	}
	dir := filepath.Join(root, "idle")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	p, err := bench.StartProcess(ctx, g.Notesd, dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	users, err := bench.AddUsers(ctx, p.URL(), 1, growthPage)
	if err != nil {
		return err
	}
	work := bench.Get(growthHost, firstPage, users[0].Cookie)
	before, err := measureFootprint(ctx, p, work)
	// The memory of the sign-up is returned to the kernel gradually.
	for falls := true; falls && err == nil; {
		bench.Pause(ctx, time.Second)
		last := before
		before, err = measureFootprint(ctx, p, work)
		falls = before.resident < last.resident
	}
	if err != nil {
		return err
	}
	opened, err := crowded(ctx, p, g.Idle, false, work)
	if err != nil {
		return err
	}
	asked, err := crowded(ctx, p, g.Idle, true, work)
	if err != nil {
		return err
	}
	s.Tables = append(s.Tables, idleTable(g.Idle, before, opened, asked))
	s.Notes = append(s.Notes,
		"Idle connections are to a server on SQLite without a memory limit, from as many addresses. All is "+
			"measured just after a collection of Go's; the kernel's buffers of a socket are in none of the figures.")
	return nil
}

// crowded returns the footprint with so many idle connections. If asked is true, each connection
// has made the request work before.
func crowded(
	ctx context.Context, p *bench.Process, connections int, asked bool, work bench.Request,
) (footprint, error) {
	addr, err := p.Address()
	if err != nil {
		return footprint{}, err
	}
	var open []*bench.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for i := range connections {
		c, err := bench.Dial(addr, bench.ClientAddress(addr.Addr(), i))
		if err != nil {
			return footprint{}, err
		}
		open = append(open, c)
		if !asked {
			continue
		}
		if err := c.Do(work); err != nil {
			return footprint{}, fmt.Errorf("idle connection %d of %d: %w", i+1, connections, err)
		}
	}
	return measureFootprint(ctx, p, work)
}

func idleTable(connections int, before, opened, asked footprint) bench.Table {
	t := bench.Table{Title: "Idle connections", Head: []string{format.Count(connections, "connection"), "memory",
		"each", "Go's heap", "each",
		"stacks", "each"}}
	each := func(n int64) string { return format.Rate(float64(n)/float64(connections)/(1<<10)) + " KB" }
	for _, row := range []struct {
		what string
		footprint
	}{{"before", before}, {"opened", opened}, {"after a first page each", asked}} {
		t.Rows = append(t.Rows, []string{row.what, format.Megabytes(row.resident), each(row.resident - before.resident),
			format.Megabytes(row.heap), each(row.heap - before.heap), format.Megabytes(row.stacks),
			each(row.stacks - before.stacks)})
	}
	return t
}

// measureFootprint returns the memory of the server after Go has collected its garbage. It keeps
// the server busy until two collections have run.
func measureFootprint(ctx context.Context, p *bench.Process, work bench.Request) (f footprint, err error) {
	admin := p.AdminClient()
	defer admin.Close()
	addr, err := p.Address()
	if err != nil {
		return f, err
	}
	worker, err := bench.Dial(addr, nil)
	if err != nil {
		return f, err
	}
	defer worker.Close()
	collected := int64(-1)
	for {
		_, text, err := admin.Exchange(ctx, http.MethodGet, "/metrics", "", "")
		if err != nil {
			return f, err
		}
		const times = "go_gc_duration_seconds_count"
		if collected < 0 {
			collected = metricIn(text, times)
		}
		if metricIn(text, times) >= collected+2 {
			f.heap = metricIn(text, "go_memstats_heap_alloc_bytes")
			f.stacks = metricIn(text, "go_memstats_stack_inuse_bytes")
			f.resident, err = bench.ResidentBytes(p.PID())
			return f, err
		}
		for range 10 {
			if err := worker.Do(work); err != nil {
				return f, fmt.Errorf("beside idle connections: %w", err)
			}
		}
	}
}

// metricIn returns the value of a metric without labels. It returns 0 if there is no such metric.
func metricIn(text []byte, name string) int64 {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int64(f)
		}
	}
	return 0
}
