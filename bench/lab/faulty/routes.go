package main

import (
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"notesd/server/router"
)

// faultRoutes returns routes that fail on purpose.
func faultRoutes() []router.Route {
	route := func(path string, handle func(*router.Context) error) router.Route {
		return router.Route{Method: http.MethodGet, Path: path, Class: router.Read, Handle: handle}
	}
	return []router.Route{
		route("/api/fault/panic", faultPanic),
		route("/api/fault/exit", faultExit),
		route("/api/fault/slow", faultSlow),
		route("/api/fault/stall", faultStall),
		route("/api/fault/midway", faultMidway),
		route("/api/fault/race", faultRace),
	}
}

var errDuration = router.NewError(http.StatusBadRequest, "Invalid input format")

// faultPanic panics, unless ?well=true.
func faultPanic(c *router.Context) error {
	if c.Query("well") == "true" {
		return c.Message("done")
	}
	panic("fault route: panic")
}

func faultExit(*router.Context) error { runtime.Goexit(); return nil }

// faultSlow takes ?for= (a Go duration) and obeys the request's context.
func faultSlow(c *router.Context) error {
	d, err := time.ParseDuration(c.Query("for"))
	if err != nil {
		return errDuration
	}
	select {
	case <-time.After(d):
		return c.Message("done")
	case <-c.Context().Done():
		return c.Context().Err()
	}
}

// faultStall takes ?for= and ignores the context, as a stuck handler does.
func faultStall(c *router.Context) error {
	d, err := time.ParseDuration(c.Query("for"))
	if err != nil {
		return errDuration
	}
	time.Sleep(d)
	return c.Message("done")
}

// faultMidway panics after a part of its response was sent.
func faultMidway(c *router.Context) error {
	_, _ = c.Writer().Write([]byte(`{"success":true,"data":[`))
	if err := c.SendPart(); err != nil {
		return err
	}
	panic("fault route: panic midway")
}

// faultRace writes one variable from two goroutines. A binary built with the race detector must
// report that.
func faultRace(c *router.Context) error {
	var n int
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { n++ })
	}
	both.Wait()
	return c.Message(strconv.Itoa(n))
}
