package pool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/pool"
)

var discard = slog.New(slog.DiscardHandler)

// logged is what one log line of a restart says.
type logged struct {
	Level, Msg, Route, Class, Panic, Fingerprint, Stack string
	Worker, Replacement, Count                          uint64
	Shard                                               int
}

// logTo returns a logger and a function that decodes what it wrote since the last call.
func logTo(t *testing.T) (*slog.Logger, func() []logged) {
	out := &testkit.LogBuffer{}
	return slog.New(slog.NewJSONHandler(out, nil)), func() (lines []logged) {
		for d := json.NewDecoder(strings.NewReader(out.Take())); d.More(); {
			var line logged
			if err := d.Decode(&line); err != nil {
				t.Fatalf("log line: %v", err)
			}
			lines = append(lines, line)
		}
		return lines
	}
}

func explode(context.Context, *pool.Permit) error { panic("boom") }

// A panic costs its own request: an error with the stack, one log line, a fresh
// worker in the slot.
func TestPanic(t *testing.T) {
	cfg := small()
	log, lines := logTo(t)
	cfg.Log = log
	p := pool.New(cfg)
	old := p.Stats().Shards[0].Workers[0].ID

	err := p.Do(t.Context(), read, explode)
	e, ok := errors.AsType[*pool.PanicError](err)
	if !ok || e.Value != "boom" || e.Worker != old || e.Error() != "panic: boom" {
		t.Fatalf("Do() = %#v, want a PanicError of worker %d", err, old)
	}
	if !strings.Contains(string(e.Stack), "pool_test.explode") {
		t.Errorf("stack does not show where it panicked:\n%s", e.Stack)
	}
	s := p.Stats()
	fresh := s.Shards[0].Workers[0].ID
	if fresh == old || s.Busy != 0 || s.Done != 1 || s.Panics != 1 || s.Restarts != 1 || s.Goexits != 0 {
		t.Errorf("Stats() = %+v, want 1 done, 1 panic, 1 restart, another id than %d", s, old)
	}
	want := logged{Level: "ERROR", Msg: "worker restarted", Route: "/read", Class: "read", Panic: "boom",
		Fingerprint: e.Fingerprint, Count: 1, Stack: string(e.Stack), Worker: old, Replacement: fresh}
	if got := lines(); len(got) != 1 || got[0] != want {
		t.Errorf("logged %+v, want once %+v", got, want)
	}
	if permit := acquire(t, p, read); permit.Worker() != fresh {
		t.Errorf("the next request has worker %d, want %d", permit.Worker(), fresh)
	}
}

// After an early Release a panic is counted and logged, but there is no worker
// to retire.
func TestPanicWithoutWorker(t *testing.T) {
	cfg := small()
	log, lines := logTo(t)
	cfg.Log = log
	p := pool.New(cfg)
	before := p.Stats().Shards[0].Workers[0].ID
	err := p.Do(t.Context(), read, func(_ context.Context, permit *pool.Permit) error {
		permit.Release()
		panic("boom")
	})
	if e, ok := errors.AsType[*pool.PanicError](err); !ok || e.Worker != 0 {
		t.Errorf("Do() = %#v, want a PanicError of no worker", err)
	}
	s := p.Stats()
	if after := s.Shards[0].Workers[0].ID; after != before || s.Panics != 1 || s.Restarts != 0 || s.Done != 1 {
		t.Errorf("Stats() = %+v, want 1 panic, no restart", s)
	}
	if got := lines(); len(got) != 1 || got[0].Msg != "panic without a worker" {
		t.Errorf("logged %+v, want one line", got)
	}
}

// runtime.Goexit ends its goroutine, and gives the worker back.
func TestGoexit(t *testing.T) {
	cfg := small()
	log, lines := logTo(t)
	cfg.Log = log
	p := pool.New(cfg)
	old := p.Stats().Shards[0].Workers[0].ID
	ended := make(chan bool)
	go func() {
		went := false
		defer func() { ended <- went }()
		p.Do(t.Context(), read, func(context.Context, *pool.Permit) error { runtime.Goexit(); return nil })
		went = true
	}()
	if <-ended {
		t.Error("Do() returned after Goexit")
	}
	s := p.Stats()
	if fresh := s.Shards[0].Workers[0].ID; fresh == old || s.Busy != 0 || s.Goexits != 1 || s.Panics != 0 || s.Restarts != 1 {
		t.Errorf("Stats() = %+v, want 1 goexit, 1 restart", s)
	}
	if got := lines(); len(got) != 1 || got[0].Panic != "runtime.Goexit" || got[0].Worker != old {
		t.Errorf("logged %+v, want one line about worker %d", got, old)
	}
}

// The panic that is no accident goes through, and costs no worker.
func TestPassthrough(t *testing.T) {
	abort := errors.New("abort")
	for _, c := range []struct {
		name     string
		through  error
		value    any
		repanics bool
	}{
		{"itself", abort, abort, true},
		{"wrapped", abort, fmt.Errorf("handler: %w", abort), true},
		{"another error", abort, errors.New("abort"), false},
		{"its text", abort, "abort", false},
		{"none configured", nil, abort, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := small()
			cfg.Passthrough, cfg.Log = c.through, discard
			p := pool.New(cfg)
			old := p.Stats().Shards[0].Workers[0].ID
			var err error
			caught := func() (v any) {
				defer func() { v = recover() }()
				err = p.Do(t.Context(), read, func(context.Context, *pool.Permit) error { panic(c.value) })
				return nil
			}()
			s := p.Stats()
			kept := s.Shards[0].Workers[0].ID == old
			if c.repanics && (caught != c.value || s.Panics != 0 || !kept) {
				t.Errorf("recovered %v, want %v; %d panics counted, worker kept: %v", caught, c.value, s.Panics, kept)
			}
			if !c.repanics && (caught != nil || err == nil || s.Panics != 1 || kept) {
				t.Errorf("Do() = %v and panics with %v, want an error; %d panics counted", err, caught, s.Panics)
			}
			if s.Busy != 0 || s.Done != 1 {
				t.Errorf("Busy = %d, Done = %d, want 0, 1", s.Busy, s.Done)
			}
		})
	}
}

type (
	note   struct{ Text string }
	talker struct{}
	poison struct{}
	evil   struct{}
)

func (talker) String() string { return "I say" }
func (poison) Error() string  { panic("again") }
func (evil) Error() string    { return "evil" }
func (evil) Is(error) bool    { panic("again") }

// doPanic has a request panic with v.
func doPanic(t *testing.T, p *pool.Pool, v any) error {
	return p.Do(t.Context(), read, func(context.Context, *pool.Permit) error { panic(v) })
}

// What a panic's value says of itself is logged; what it is made of is not.
func TestPanicText(t *testing.T) {
	cfg := small()
	cfg.Log = discard
	p := pool.New(cfg)
	itself := map[string]any{}
	itself["itself"] = itself
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"string", "boom", "boom"},
		{"error", errors.New("broken"), "broken"},
		{"number", 42, "42"},
		{"duration", time.Second, "1s"},
		{"says itself", talker{}, "I say"},
		{"struct", note{"secret"}, "(pool_test.note)"},
		{"pointer", &note{"secret"}, "(*pool_test.note)"},
		{"nil pointer", (*note)(nil), "(*pool_test.note)"},
		{"map that holds itself", itself, "(map[string]interface {})"},
		{"method that panics", poison{}, "%!v(PANIC=Error method: again)"},
		{"nil", nil, "panic called with nil argument"},
		{"huge", errors.New(strings.Repeat("x", 1<<20)), strings.Repeat("x", 4096)},
	} {
		got := strings.TrimPrefix(doPanic(t, p, c.value).Error(), "panic: ")
		if got != c.want {
			t.Errorf("%s: text of the panic is %.100q, want %.100q", c.name, got, c.want)
		}
	}
}

// Even a value that panics while it is looked at costs no worker.
func TestPanicInPanic(t *testing.T) {
	cfg := small()
	cfg.Log, cfg.Passthrough = discard, errors.New("abort")
	p := pool.New(cfg)
	func() {
		defer func() {
			if v := recover(); v != "again" {
				t.Errorf("recovered %v, want again", v)
			}
		}()
		doPanic(t, p, evil{})
	}()
	wantState(t, p, state{})
}
