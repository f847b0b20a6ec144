package pool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notesd/pool"
)

// fail has a request of a route fail by fn and returns its panic.
func fail(t *testing.T, p *pool.Pool, route string, fn func()) *pool.PanicError {
	t.Helper()
	done := make(chan *pool.PanicError, 1)
	go func() {
		defer close(done)
		err := p.Do(t.Context(), pool.Request{Class: pool.Read, Route: route}, func(context.Context, *pool.Permit) error { fn(); return nil })
		e, ok := errors.AsType[*pool.PanicError](err)
		if !ok {
			t.Errorf("Do() = %v, want a panic", err)
		}
		done <- e
	}()
	return <-done // nil after a Goexit
}

func outOfRange() { _ = make([]int, 3)[len(os.Args)+3] }
func noPointer()  { var p *note; _ = p.Text }

//go:noinline
func said(v any) func() { // inlined, each would be a function of its own
	return func() { panic(v) }
}

// either panics in one line or in another.
func either(first bool) {
	if first {
		panic("first")
	}
	panic("second")
}

// deep panics so many calls down.
func deep(n int) {
	if n == 0 {
		panic("deep")
	}
	deep(n - 1)
}

// Panics of one place by one way are of one kind, whatever they say; those of
// another place, way or route are not.
func TestFingerprint(t *testing.T) {
	cfg := small()
	cfg.Log = discard
	p := pool.New(cfg)
	first := false
	alternately := func() { first = !first; either(first) }
	kinds := []struct {
		name, route, frame string
		fns                []func() // all of them alike
	}{
		{"one panic", "/a", "pool_test.said.func1 (fingerprint_test.go:", []func(){said("a secret"), said("another"), said(errors.New("x"))}},
		{"of another route", "/b", "pool_test.said.func1 (fingerprint_test.go:", []func(){said("a secret")}},
		{"out of range", "/a", "pool_test.outOfRange (fingerprint_test.go:", []func(){outOfRange, outOfRange}},
		{"nil pointer", "/a", "pool_test.noPointer (fingerprint_test.go:", []func(){noPointer}},
		{"one line", "/a", "pool_test.either (fingerprint_test.go:", []func(){alternately}},
		{"another line", "/a", "pool_test.either (fingerprint_test.go:", []func(){alternately}},
		{"deep", "/a", "pool_test.deep (fingerprint_test.go:", []func(){func() { deep(100) }, func() { deep(200) }}},
		{"shallow", "/a", "pool_test.deep (fingerprint_test.go:", []func(){func() { deep(3) }}},
		{"Goexit", "/a", "", []func(){runtime.Goexit}},
	}
	for _, kind := range kinds {
		for _, fn := range kind.fns {
			fail(t, p, kind.route, fn)
		}
	}
	seen := map[string]bool{}
	got := p.Stats().PanicKinds
	slices.Reverse(got) // the latest comes first
	if len(got) != len(kinds) {
		t.Fatalf("%d kinds of panics, want %d: %+v", len(got), len(kinds), got)
	}
	for i, kind := range kinds {
		s := got[i]
		if s.Count != uint64(len(kind.fns)) || s.Route != kind.route || !strings.Contains(s.Frame, kind.frame) || seen[s.Fingerprint] {
			t.Errorf("%s: %+v, want %d of route %s at %s", kind.name, s, len(kind.fns), kind.route, kind.frame)
		}
		if !regexp.MustCompile("^[0-9a-f]{16}$").MatchString(s.Fingerprint) || strings.Contains(fmt.Sprint(s), "secret") {
			t.Errorf("%s: %+v, want 16 digits and no word of what it said", kind.name, s)
		}
		seen[s.Fingerprint] = true
	}
}

// A stack is logged once a minute, every panic with its fingerprint and how
// many there were of it.
func TestPanicsAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		log, lines := logTo(t)
		cfg.Log = log
		p := pool.New(cfg)
		began := time.Now()
		var stacks []int
		for i := range 200 {
			err := fail(t, p, "/a", outOfRange)
			line := lines()
			if len(line) != 1 || line[0].Msg != "worker restarted" || line[0].Worker != err.Worker || line[0].Replacement <= err.Worker ||
				line[0].Fingerprint != err.Fingerprint || line[0].Count != uint64(i+1) || line[0].Stack != string(err.Stack) {
				t.Fatalf("panic %d logged %+v, want one line about worker %d", i, line, err.Worker)
			}
			if line[0].Stack != "" {
				stacks = append(stacks, i)
			}
			time.Sleep(time.Second)
		}
		if want := []int{0, 60, 120, 180}; !slices.Equal(stacks, want) {
			t.Errorf("panics %v, one a second, are logged with their stack, want %v", stacks, want)
		}
		fail(t, p, "/b", outOfRange)
		if line := lines(); len(line) != 1 || line[0].Stack == "" || line[0].Count != 1 {
			t.Errorf("another kind of panic logged %+v, want its stack", line)
		}
		s := p.Stats().PanicKinds
		if len(s) != 2 || !s[0].First.Equal(began.Add(200*time.Second)) || !s[1].First.Equal(began) || !s[1].Last.Equal(began.Add(199*time.Second)) {
			t.Errorf("kinds %+v, want the second first, and when each was", s)
		}
	})
}

// A hundred kinds are remembered: the one that was longest not seen goes.
func TestFingerprintsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.Log = discard
		p := pool.New(cfg)
		route := func(i int) string { return fmt.Sprintf("/%d", i) }
		for i := range 100 {
			fail(t, p, route(i), outOfRange)
			time.Sleep(time.Second)
		}
		fail(t, p, route(0), outOfRange)
		time.Sleep(time.Second)
		fail(t, p, route(100), outOfRange)
		kept := map[string]uint64{}
		for _, s := range p.Stats().PanicKinds {
			kept[s.Route] = s.Count
		}
		if len(kept) != 100 || kept[route(0)] != 2 || kept[route(1)] != 0 || kept[route(2)] != 1 || kept[route(100)] != 1 {
			t.Errorf("%d kinds kept: %v; want 100, all but %s", len(kept), kept, route(1))
		}
	})
}

// Caught is Do's way with a panic, for those that need no worker.
func TestCaught(t *testing.T) {
	cfg := small()
	abort := errors.New("abort")
	log, lines := logTo(t)
	cfg.Log, cfg.Passthrough = log, abort
	p := pool.New(cfg)
	catch := func(v any) (through any, err error) {
		defer func() { through = recover() }()
		defer func() { err = p.Caught("/free", recover()) }()
		panic(v)
	}
	for i, stack := range []bool{true, false} {
		through, err := catch("boom")
		e, ok := errors.AsType[*pool.PanicError](err)
		if !ok || through != nil || e.Error() != "panic: boom" || e.Worker != 0 || e.Stack != nil != stack {
			t.Errorf("Caught() = %#v and panics with %v, want a PanicError with a stack: %v", err, through, stack)
		}
		if line := lines(); len(line) != 1 || line[0].Msg != "panic without a worker" || line[0].Route != "/free" ||
			line[0].Count != uint64(i+1) || line[0].Stack != "" != stack {
			t.Errorf("logged %+v, want one line with a stack: %v", line, stack)
		}
	}
	if through, _ := catch(abort); through != abort || len(lines()) != 0 {
		t.Errorf("Caught() panics with %v, want %v, and not a word", through, abort)
	}
	if s := p.Stats(); len(s.PanicKinds) != 1 || s.PanicKinds[0].Count != 2 || s.Panics != 0 || s.Restarts != 0 {
		t.Errorf("Stats() = %+v, want one kind, twice, and no worker in it", s)
	}
}
