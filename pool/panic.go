package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
)

// A PanicError is a panic that Do caught. It was counted and logged.
type PanicError struct {
	Value  any
	Stack  []byte // of the goroutine, where it panicked
	Worker uint64 // the worker that was retired for it; 0 when none was held
}

func (e *PanicError) Error() string { return "panic: " + text(e.Value) }

// Unwrap returns the panic's value when that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// caught deals with a function that did not return: v is what it panicked with,
// nil for runtime.Goexit. What it does comes before what it says, so that a
// logger that blocks blocks no worker.
func (p *Pool) caught(t *Turn, v any) error {
	if err, ok := v.(error); ok && p.cfg.Passthrough != nil && errors.Is(err, p.cfg.Passthrough) {
		panic(v) // t is released on the way
	}
	stack := debug.Stack()
	shard := t.worker.shard
	if v == nil {
		shard.goexits.Add(1)
	} else {
		shard.panics.Add(1)
	}
	var old, fresh uint64
	if t.end() {
		old, fresh = t.id, t.worker.retire()
		t.finish()
	}
	p.report(shard.id, t.request, v, stack, old, fresh)
	p.quarantine.fell(t.request.Route, p.now())
	return &PanicError{Value: v, Stack: stack, Worker: old}
}

// report writes the one log line of a panic or a Goexit.
func (p *Pool) report(shard int, r Request, v any, stack []byte, old, fresh uint64) {
	message := "worker restarted"
	if old == 0 {
		message = "panic without a worker" // while Outside, or after an early Release
	}
	p.log.LogAttrs(context.Background(), slog.LevelError, message,
		slog.Uint64("worker", old),
		slog.Uint64("replacement", fresh),
		slog.Int("shard", shard),
		slog.String("route", r.Route),
		slog.String("class", r.Class.String()),
		slog.String("panic", text(v)),
		slog.String("stack", string(stack)),
	)
}

// maxText bounds what is logged of a panic's value, in bytes.
const maxText = 4 << 10

// text is a panic's value as text, as the Go runtime would print it: a number,
// a string, or what the value says of itself, but of a struct or a map only
// the type. They may hold a secret, a note, or themselves.
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
