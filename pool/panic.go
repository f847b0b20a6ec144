package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"time"
)

// A PanicError is a panic that was caught. It was counted and logged.
type PanicError struct {
	Value       any
	Fingerprint string // the same for panics of one kind; see PanicStats
	// Stack is the stack of the goroutine where it panicked. It is nil when the stack of a panic of
	// the same kind was logged within the last minute.
	Stack  []byte
	Worker uint64 // the worker that was retired for the panic; 0 when none was held
}

func (e *PanicError) Error() string { return "panic: " + text(e.Value) }

// Unwrap returns the panic's value when that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// caught handles a function that did not return: v is the value it panicked with, nil for
// runtime.Goexit. caught gives the worker back before it logs, so that a logger that blocks blocks
// no worker.
func (p *Pool) caught(t *Permit, v any) error {
	p.passThrough(v) // t is released on the way
	like, err := p.recordPanic(t.request.Route, v)
	shard := t.worker.shard
	if v == nil {
		shard.goexits.Add(1)
	} else {
		shard.panics.Add(1)
	}
	var fresh uint64
	if t.end() {
		err.Worker, fresh = t.id, t.worker.retire()
		t.finish()
	}
	p.report(err, like,
		slog.Uint64("worker", err.Worker),
		slog.Uint64("replacement", fresh),
		slog.Int("shard", shard.id),
		slog.String("class", t.request.Class.String()))
	p.breaker.failure(t.request.Route, err.Fingerprint, p.now())
	return err
}

// Caught is for a deferred function of a request that Do does not run, because it needs no worker.
// It counts the recovered value v by its fingerprint, logs it and returns it as an error. It panics
// again with a value that errors.Is the Passthrough.
func (p *Pool) Caught(route string, v any, attrs ...slog.Attr) *PanicError {
	p.passThrough(v)
	like, err := p.recordPanic(route, v)
	p.report(err, like, attrs...)
	return err
}

// passThrough panics with v when v is the Passthrough.
func (p *Pool) passThrough(v any) {
	if err, ok := v.(error); ok && p.cfg.Passthrough != nil && errors.Is(err, p.cfg.Passthrough) {
		panic(v)
	}
}

// recordPanic counts a panic by its fingerprint.
func (p *Pool) recordPanic(route string, v any) (PanicStats, *PanicError) {
	like, logStack := p.fingerprints.add(route, panicFrames(), time.Now())
	err := &PanicError{Value: v, Fingerprint: like.Fingerprint}
	if logStack {
		err.Stack = debug.Stack()
	}
	return like, err
}

// report writes the one log line of a panic or a Goexit. The line has the stack, unless the stack
// of a panic of the same kind was logged less than a minute ago.
func (p *Pool) report(e *PanicError, like PanicStats, attrs ...slog.Attr) {
	message := "worker restarted"
	if e.Worker == 0 { // it panicked after Yield, after an early Release, or where none was needed
		message = "panic without a worker"
	}
	attrs = append(attrs,
		slog.String("route", like.Route),
		slog.String("panic", text(e.Value)),
		slog.String("fingerprint", like.Fingerprint),
		slog.Uint64("count", like.Count))
	if e.Stack != nil {
		attrs = append(attrs, slog.String("stack", string(e.Stack)))
	}
	p.log.LogAttrs(context.Background(), slog.LevelError, message, attrs...)
}

// maxText bounds the logged text of a panic's value, in bytes.
const maxText = 4 << 10

// text returns a panic's value as text, as the Go runtime would print it: a number, a string, or
// the text of an error or a Stringer. Of a struct or a map it returns only the type, because these
// may hold a secret, a note, or themselves.
func text(v any) string {
	switch v.(type) {
	case nil:
		return "runtime.Goexit"
	case error, fmt.Stringer: // fmt survives a method that panics
	default:
		if k := reflect.TypeOf(v).Kind(); k > reflect.Complex128 && k != reflect.String {
			return fmt.Sprintf("(%T)", v)
		}
	}
	s := fmt.Sprint(v)
	return s[:min(len(s), maxText)]
}
