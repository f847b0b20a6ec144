package server

import (
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"notesd/pool"
)

// Faults are failures on purpose, so that proofs can show their consequences. The released program
// has none: only bench/lab/faulty calls NewFaults.
type Faults struct {
	routes       []*route
	admissionOff bool
}

// NewFaults returns routes that fail on purpose. With admissionOff every handler begins at once, as
// with plain net/http. The benefit and the cost of the pool are measured against that.
func NewFaults(admissionOff bool) *Faults {
	return &Faults{admissionOff: admissionOff, routes: []*route{
		{method: http.MethodGet, pattern: "/api/fault/panic", handle: faultPanic, class: pool.Read},
		{method: http.MethodGet, pattern: "/api/fault/exit", handle: faultExit, class: pool.Read},
		{method: http.MethodGet, pattern: "/api/fault/slow", handle: faultSlow, class: pool.Read},
		{method: http.MethodGet, pattern: "/api/fault/stall", handle: faultStall, class: pool.Read},
		{method: http.MethodGet, pattern: "/api/fault/midway", handle: faultMidway, class: pool.Read},
		{method: http.MethodGet, pattern: "/api/fault/race", handle: faultRace, class: pool.Read},
	}}
}

// faultPanic panics, unless ?well=true.
func faultPanic(_ *Server, x *exchange) error {
	if x.QueryParam("well") == "true" {
		return x.message("done")
	}
	panic("fault route: panic")
}

func faultExit(*Server, *exchange) error { runtime.Goexit(); return nil }

// faultSlow takes ?for= (a Go duration) and obeys the request's context.
func faultSlow(_ *Server, x *exchange) error {
	d, err := time.ParseDuration(x.QueryParam("for"))
	if err != nil {
		return errInputFormat
	}
	select {
	case <-time.After(d):
		return x.message("done")
	case <-x.ctx.Done():
		return x.ctx.Err()
	}
}

// faultStall takes ?for= and ignores the context, as a stuck handler does.
func faultStall(_ *Server, x *exchange) error {
	d, err := time.ParseDuration(x.QueryParam("for"))
	if err != nil {
		return errInputFormat
	}
	time.Sleep(d)
	return x.message("done")
}

// faultMidway panics after a part of its response was sent.
func faultMidway(s *Server, x *exchange) error {
	_, _ = x.out.Write([]byte(`{"success":true,"data":[`))
	if err := s.outside(x, x.out.flush); err != nil {
		return err
	}
	panic("fault route: panic midway")
}

// faultRace writes one variable from two goroutines. A binary built with the race detector must
// report that.
func faultRace(_ *Server, x *exchange) error {
	var n int
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { n++ })
	}
	both.Wait()
	return x.message(strconv.Itoa(n))
}
