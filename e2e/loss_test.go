package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notesd/internal/testserver"
	"notesd/store"
)

const lossDevices = 3

// Three devices of one user edit the same notes for LOSS, two of them offline
// for a while at random, on SQLite and on two replicas of which one is killed
// now and then. Every line has its author and a number: each line that nobody
// has removed is there at the end, and none is there twice.
func TestLoss(t *testing.T) {
	lasts := durationOf(t, "LOSS", 10*time.Second)
	proof := newProof(t, "loss", fmt.Sprintf("LOSS=%v", lasts))
	for _, row := range []struct {
		name  string
		kills bool
		start func(t *testing.T) []*process
	}{
		{"SQLite", false, func(t *testing.T) []*process {
			p := newProcess(t, "LOG_LEVEL=warn", "RATE_LIMIT_MAX_REQUESTS=0", secret)
			p.start()
			return []*process{p}
		}},
		{"two replicas, killed in turn", true, func(t *testing.T) (replicas []*process) {
			url, redis := testserver.EmptyPostgres(t), testserver.Redis(t)
			for range 2 {
				p := newProcess(t, "LOG_LEVEL=error", "DATABASE_URL="+url, "REDIS_URL="+redis, secret, "RATE_LIMIT_MAX_REQUESTS=0")
				p.start()
				replicas = append(replicas, p)
			}
			return replicas
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			replicas := row.start(t)
			for _, p := range replicas {
				p.awaitReady()
			}
			r := newLossRun(t, replicas, min(50, 5+int(lasts/(10*time.Second))))
			var all sync.WaitGroup
			for _, d := range r.devices {
				all.Go(func() { d.work(time.Now().Add(lasts)) })
			}
			kills := 0
			if row.kills {
				kills = len(killInTurn(replicas, lasts))
			}
			all.Wait()
			for _, p := range replicas {
				p.awaitReady()
			}
			r.settle()
			lost, doubled, kept := r.count()
			merged, clashed := r.merged.Load(), r.clashed.Load()
			proof.Promise(row.name+": lines lost that nobody had removed", "0", fmt.Sprintf("%d of %d", lost, kept+lost), lost == 0 && kept > 0)
			proof.Promise(row.name+": lines that are there twice", "0", fmt.Sprint(doubled), doubled == 0)
			proof.Promise(row.name+": merges, of which clashes", "–", fmt.Sprintf("%d, %d", merged+clashed, clashed), merged > 0)
			proof.Notes = append(proof.Notes, fmt.Sprintf("%s: %d notes, %d saves, %d kills.", row.name, len(r.notes), r.saves.Load(), kills))
		})
	}
	publish(t, proof)
	if err := proof.Judge(true); err != nil {
		t.Error(err)
	}
}

// A lossRun is what the devices have in common.
type lossRun struct {
	t       *testing.T
	notes   []string // ids
	devices []*device

	merged, clashed, saves atomic.Int64

	mu      sync.Mutex
	written map[string]bool // lines
	removed map[string]bool // lines that some device has removed, if only for a while
}

// A device has its own copy of every note, as an app has that works offline.
type device struct {
	run    *lossRun
	name   string
	at     []*client // the same session at each replica
	lines  int       // written so far
	copies map[string]*copied
}

// copied is a device's copy of a note.
type copied struct {
	revision   int64  // 0: the copy was not read yet
	base, text string // as the server had it, and as it is here
}

func newLossRun(t *testing.T, replicas []*process, notes int) *lossRun {
	r := &lossRun{t: t, written: map[string]bool{}, removed: map[string]bool{}}
	owner := replicas[0].member("writer@example.com")
	for i := range notes {
		r.notes = append(r.notes, owner.create(fmt.Sprintf("note %d", i), ""))
	}
	for i := range lossDevices {
		c := replicas[0].visitor()
		c.signIn("writer@example.com", password).want(http.StatusOK)
		d := &device{run: r, name: string(rune('a' + i)), copies: map[string]*copied{}}
		for _, p := range replicas {
			d.at = append(d.at, c.on(p))
		}
		for _, id := range r.notes {
			d.copies[id] = &copied{}
		}
		r.devices = append(r.devices, d)
	}
	return r
}

// work edits notes until a time, and saves each edit at once, or some of them
// later if the device is offline.
func (d *device) work(until time.Time) {
	var offline time.Time
	for time.Now().Before(until) {
		id := d.run.notes[rand.IntN(len(d.run.notes))]
		d.edit(d.copies[id])
		if d.name != "a" && rand.IntN(40) == 0 {
			offline = time.Now().Add(rand.N(3 * time.Second))
		}
		if time.Now().After(offline) {
			for _, id := range d.run.notes {
				if c := d.copies[id]; c.text != c.base || rand.IntN(3) == 0 {
					d.sync(id)
				}
			}
		}
		time.Sleep(rand.N(20 * time.Millisecond))
	}
}

// edit writes a line, removes one, or moves a run of lines.
func (d *device) edit(c *copied) {
	lines := strings.SplitAfter(c.text, "\n")
	lines = lines[:len(lines)-1] // every line ends
	at := func() int { return rand.IntN(len(lines) + 1) }
	switch kind := rand.IntN(10); {
	case kind < 7 || len(lines) < 3:
		d.lines++
		line := fmt.Sprintf("line %d of device %s, and some more words\n", d.lines, d.name)
		d.run.mark(d.run.written, line)
		lines = slices.Insert(lines, at(), line)
	case kind < 9:
		i := rand.IntN(len(lines))
		d.run.mark(d.run.removed, lines[i])
		lines = slices.Delete(lines, i, i+1)
	default:
		i := rand.IntN(len(lines) - 1)
		run := slices.Clone(lines[i : i+2])
		lines = slices.Delete(lines, i, i+2)
		lines = slices.Insert(lines, at(), run...)
	}
	c.text = strings.Join(lines, "")
}

func (r *lossRun) mark(set map[string]bool, line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	set[line] = true
}

// lossReply is an answer to a PATCH or GET.
type lossReply struct {
	Data struct {
		Revision int64
		Content  string
	}
	Merge any
}

// sync saves the device's text if it has changed, and takes over what the server
// has by then. It goes on until both are the same.
func (d *device) sync(id string) {
	c := d.copies[id]
	for c.revision == 0 || c.text != c.base {
		if c.revision == 0 { // nothing to base an edit on: the note was empty
			d.take(c, d.insist(http.MethodGet, "/api/notes/"+id, nil))
			continue
		}
		d.run.saves.Add(1)
		d.take(c, d.insist(http.MethodPatch, "/api/notes/"+id, map[string]any{"content": c.text, "baseRevision": c.revision}))
	}
	d.take(c, d.insist(http.MethodGet, "/api/notes/"+id, nil))
}

// take makes the server's answer the device's copy, with what a clash leaves to the device.
func (d *device) take(c *copied, r reply) {
	var got lossReply
	r.decode(&got)
	text := got.Data.Content
	switch {
	case r.status == http.StatusConflict:
		d.run.clashed.Add(1)
		text = resolved(got, c.text)
	case r.status != http.StatusOK:
		d.run.t.Errorf("%s = %d %s", r.call, r.status, r.text)
	case got.Merge != nil:
		d.run.merged.Add(1)
	case c.revision == 0:
		text += c.text
	}
	*c = copied{got.Data.Revision, got.Data.Content, text}
}

// resolved keeps, of a clash, what both sides have.
func resolved(got lossReply, mine string) string {
	var b strings.Builder
	seen := map[string]bool{}
	add := func(text any) {
		s, _ := text.(string)
		for line := range strings.Lines(s) {
			if !seen[line] {
				seen[line] = true
				b.WriteString(line)
			}
		}
	}
	parts, _ := got.Merge.([]any)
	for _, part := range parts {
		p, _ := part.(map[string]any)
		add(p["text"])
		add(p["theirs"])
		add(p["yours"])
	}
	if parts == nil {
		add(got.Data.Content)
		add(mine)
	}
	return b.String()
}

// insist sends a request until it is answered, each time to another replica. It
// bears the same key each time, so that it is done once.
func (d *device) insist(method, path string, body any) reply {
	key := store.NewID()
	for {
		r, err := d.at[rand.IntN(len(d.at))].try(method, path, body, "Idempotency-Key", key)
		if err == nil && r.status < http.StatusInternalServerError && r.status != http.StatusTooManyRequests {
			return r
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// settle has all devices save and read until nothing changes any more.
func (r *lossRun) settle() {
	for range 2 {
		for _, d := range r.devices {
			for _, id := range r.notes {
				d.sync(id)
			}
		}
	}
}

// count goes through what the server has in the end.
func (r *lossRun) count() (lost, doubled, kept int) {
	times := map[string]int{}
	for _, id := range r.notes {
		for line := range strings.Lines(r.devices[0].copies[id].text) {
			times[line]++
		}
		for _, d := range r.devices {
			if d.copies[id].text != r.devices[0].copies[id].text {
				r.t.Errorf("devices a and %s have different texts in the end", d.name)
			}
		}
	}
	for line := range r.written {
		switch n := times[line]; {
		case n > 1:
			doubled++
			r.t.Logf("%d times: %s", n, line)
		case n == 1:
			kept++
		case !r.removed[line]:
			lost++
			r.t.Logf("lost: %s", line)
		}
	}
	return lost, doubled, kept
}
