package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"notesd/internal/netutil"
	"notesd/internal/ratelimit"
	"notesd/pool"
)

// admit waits for a permit of the pool and runs the route's handler with it. The session, the limits
// and the body need the permit as well, so nothing leaves the process before admission. The handler
// only buffers the response. The response is sent after the permit is released.
func (rt *Router) admit(c *Context, route *Route) error {
	if c.r.ContentLength > rt.bodyLimit(route) {
		return errBodyTooLarge
	}
	if route.Fast != nil {
		if entry, who := rt.lookup(c.r, route, c.Param(route.parameter()), c.began); entry != nil {
			return rt.admitEntry(c, entry, who)
		}
	}
	if err := c.readArrived(); err != nil {
		return err
	}
	client, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	c.client = client
	if rt.cfg.WithReserve != nil {
		c.client = rt.cfg.WithReserve(client, c.Reserve)
	}
	c.beginWork()
	defer func() { c.stop() }()
	if rt.cfg.NoAdmission {
		c.permit = &pool.Permit{}
		return c.handle()
	}
	c.asked = pool.Request{Class: route.admissionClass(c.r), Route: route.Path, Flow: c.flow(), Cancel: cancel}
	err := rt.pool.Do(c.ctx, c.asked, func(_ context.Context, permit *pool.Permit) error {
		c.permit, c.shard, c.waited = permit, permit.Shard(), permit.Waited()
		defer c.observeHandled()
		err := c.handle()
		// Its memory is reserved as long as the request has the permit.
		if e, ok := errors.AsType[*Error](err); ok && e.Data != nil {
			c.writeError(err)
			return nil
		}
		return err
	})
	c.keepResponse()
	// Err itself only says that the context was canceled.
	if err != nil && context.Cause(client) == pool.ErrStuck {
		err = fmt.Errorf("%w: %w", pool.ErrStuck, err)
	}
	return c.paced(err)
}

// handle handles a request that has a permit. It finds the user of the request, counts the request
// against the user's limit and calls the handler. An administrator is no user and has no limit.
func (c *Context) handle() error {
	if c.route.Auth == Admin {
		return c.route.Handle(c)
	}
	if err := c.identify(); err != nil {
		return err
	}
	if err := c.limit(); err != nil {
		return err
	}
	if c.route.Auth == SignedIn && c.who.UserID == "" {
		return errSignedOut
	}
	if err := c.who.check(c.r.Header, c.route); err != nil {
		return err
	}
	return c.route.Handle(c)
}

// checkAdmin returns an error if the request is not an administrator's.
func (c *Context) checkAdmin() error {
	if operatorOf(c.r.Context()) != "" {
		return nil
	}
	err := c.rt.cfg.CheckAdmin(c.r.Header, netutil.Network(c.addr))
	_, limited := errors.AsType[*ratelimit.LimitedError](err)
	c.noAdmin = err != nil && !limited
	return err
}

// unpooled runs a handler without a permit of the pool. It handles panics as the pool does for all
// other handlers: one request fails, and the log has the reason.
func (rt *Router) unpooled(c *Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = rt.pool.Caught(c.pattern(), v, slog.String("request_id", c.id))
		}
	}()
	return c.route.Handle(c)
}

// observeHandled reports the duration of the request, without the time that it waited for its
// client.
func (c *Context) observeHandled() {
	c.rt.cfg.Observer.Handled(c.shard, time.Since(c.began)-c.outside)
}

// beginWork bounds all further work for the request by REQUEST_TIMEOUT.
func (c *Context) beginWork() {
	c.ctx, c.stop = context.WithTimeoutCause(c.client, c.rt.cfg.RequestTimeout, errTimeout)
}

// Yield releases the permit while fn waits for the client, and then waits for a permit again at the
// request's old place in the queue. So a slow client holds no permit. The wait is the client's time
// and not part of the work, so REQUEST_TIMEOUT starts again afterwards.
func (c *Context) Yield(fn func() error) error {
	c.stop()
	err := c.permit.Yield(c.client, func() error {
		began := time.Now()
		defer func() { c.outside += time.Since(began) }()
		return fn()
	})
	c.beginWork()
	return err
}

// Commit runs fn, which writes to the store and waits for a group commit. Only the response is made
// after it, so fn runs without the permit. fn keeps the permit if very many requests wait without
// one already, or if the body is large.
func (c *Context) Commit(fn func() error) error {
	if len(c.body) > LargeBody {
		return fn()
	}
	select {
	case c.rt.committing <- struct{}{}:
		defer func() { <-c.rt.committing }()
		return c.permit.ReleaseAndRun(fn)
	default:
		return fn()
	}
}

// Reclassify changes the class of the request, which turns out to be more work than it looked like.
// The request waits for a permit of that class. It returns an error if it gets none.
func (c *Context) Reclassify(class Class) error {
	c.asked.Class = poolClasses[class]
	return c.permit.Reclassify(c.ctx, c.asked.Class)
}

// Hold counts n more bytes in flight on the request's shard, until the request ends. The router
// counts the body and the response itself. A handler counts what it buffers besides them.
func (c *Context) Hold(n int) {
	if n == 0 {
		return
	}
	c.rt.pool.AddInFlight(c.shard, int64(n))
	c.held += int64(n)
}
