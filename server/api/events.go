package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"notesd/server/auth"
	"notesd/server/events"
	"notesd/server/router"
	"notesd/store"
)

const (
	// commentEvery is how often an idle stream sends a comment, so that no proxy takes it for dead.
	commentEvery = 15 * time.Second

	// During shutdown, clients are told to come back after minRetry and up to retrySpread more, so
	// that they do not all come at once.
	minRetry    = time.Second
	retrySpread = 4 * time.Second
)

var errNoSession = router.NewError(http.StatusUnauthorized, "Authentication required")

// events handles GET /api/events: a stream of server-sent events (see HTML, "Server-sent events")
// that tell of changes of the user's notes. An event is a hint: GET /api/changes has the truth.
func (a *API) events(c *router.Context) error {
	since, err := eventsSince(c.Request())
	if err != nil {
		return err
	}
	// Caddy and nginx neither compress nor hold back a response with these headers.
	c.SetHeader("Cache-Control", "private, no-cache, no-transform")
	c.SetHeader("X-Accel-Buffering", "no")
	var s eventStream
	if c.Request().Method != http.MethodHead {
		if s, err = a.openEvents(c, since); err != nil {
			c.Header().Del("Cache-Control")
			c.Header().Del("X-Accel-Buffering")
			return err
		}
	}
	return c.Stream("text/event-stream", s.serve)
}

// eventsSince returns the number of the change that the client has heard of last, or -1 if it
// names none. A browser sends it when it resumes a stream, and the query has it otherwise.
func eventsSince(r *http.Request) (int64, error) {
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		if n, err := changeNumber(last); err == nil {
			return n, nil
		}
		return 0, nil // it is none of ours, so the client may have missed everything
	}
	values := parseQuery(r.URL.RawQuery)
	if !values.Has("since") {
		return -1, nil
	}
	n, err := changeNumber(values.Get("since"))
	if errors.Is(err, store.ErrGone) {
		return 0, nil
	}
	return n, err
}

// eventStream is one stream of events.
type eventStream struct {
	listener *events.Listener
	session  auth.Session
	since    int64 // what the client has heard of; -1: it has not said
	newest   int64
}

// openEvents adds a listener for the client. It finds the session, or the app token, a second time
// after that: one that ended before the listener was added would not end it.
func (a *API) openEvents(c *router.Context, since int64) (s eventStream, err error) {
	session, err := a.accounts.Find(c.Context(), c.Request(), c.Address())
	if err != nil {
		return s, err
	}
	if session == nil {
		return s, errNoSession
	}
	listener, err := a.hub.Listen(session.UserID, session.Key)
	if err != nil {
		return s, err
	}
	defer func() {
		if err != nil {
			listener.Close()
		}
	}()
	again, err := a.accounts.Find(c.Context(), c.Request(), c.Address())
	if err != nil {
		return s, err
	}
	if again == nil || again.Key != session.Key {
		return s, errNoSession
	}
	counters, err := a.store.Counters(c.Context(), session.UserID)
	if err != nil {
		return s, err
	}
	listener.Begin(counters.ChangeSeq)
	return eventStream{listener, *session, since, counters.ChangeSeq}, nil
}

// serve sends the events until the client, the session or the server leaves.
func (s *eventStream) serve(out *router.Stream) error {
	defer s.listener.Close()
	if err := out.Send(s.hello()); err != nil {
		return err
	}
	expired := time.NewTimer(time.Until(s.session.Expires))
	defer expired.Stop()
	comment := time.NewTicker(commentEvery)
	defer comment.Stop()
	for {
		var part []byte
		select {
		case <-s.listener.Ready():
			part = appendEvents(nil, s.listener.Take(nil))
			comment.Reset(commentEvery)
		case <-comment.C:
			part = []byte(":\n\n")
		case <-expired.C:
			return nil
		case <-s.listener.Done():
			return nil
		case <-out.Context().Done():
			if context.Cause(out.Context()) == router.ErrDraining {
				return out.Send(bye())
			}
			return nil
		}
		if err := out.Send(part); err != nil {
			return err
		}
	}
}

// hello returns the first event. It is shorter than 512 bytes: Caddy 2.6 holds back all of a stream
// that begins with more. If the client has missed changes, an event with the number of the newest
// follows, and only that moves its Last-Event-ID.
func (s *eventStream) hello() []byte {
	data := fmt.Sprintf(`{"changeSeq":%d}`, s.newest)
	if s.since < 0 || s.since == s.newest {
		return fmt.Appendf(nil, "event: hello\nid: %d\ndata: %s\n\n", s.newest, data)
	}
	return fmt.Appendf(nil, "event: hello\ndata: %s\n\nevent: change\nid: %d\ndata: %s\n\n", data, s.newest, data)
}

// bye returns the last event of a stream that ends with the server. It says when to come back.
func bye() []byte {
	retry := minRetry + rand.N(retrySpread)
	return fmt.Appendf(nil, "event: bye\nretry: %d\ndata: {\"reason\":\"draining\"}\n\n", retry.Milliseconds())
}

// appendEvents appends events as they are sent.
func appendEvents(part []byte, list []events.Event) []byte {
	for _, e := range list {
		part = append(part, "event: change\n"...)
		if !e.Late {
			part = append(strconv.AppendInt(append(part, "id: "...), e.Seq, 10), '\n')
		}
		part = strconv.AppendInt(append(part, `data: {"changeSeq":`...), e.Seq, 10)
		if e.ID != "" {
			id, _ := json.Marshal(e.ID) // has no line break: JSON escapes it
			part = append(append(part, `,"id":`...), id...)
			if e.Revision > 0 {
				part = strconv.AppendInt(append(part, `,"revision":`...), e.Revision, 10)
			} else {
				part = append(part, `,"deleted":true`...)
			}
		}
		part = append(part, "}\n\n"...)
	}
	return part
}
