package admin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"notesd/internal/incident"
	"notesd/internal/testkit"
	"notesd/pool"
)

// receiver is a webhook that keeps what it was sent.
type receiver struct {
	*httptest.Server
	events chan Event
}

// newReceiver answers with status, and takes only what is signed under key.
func newReceiver(t *testing.T, key string, status int) *receiver {
	t.Helper()
	in := &receiver{events: make(chan Event, 100)}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var e Event
		stamp := r.Header.Get("X-Notesd-Timestamp")
		at, numberErr := strconv.ParseInt(stamp, 10, 64)
		if err := errors.Join(err, numberErr, json.Unmarshal(body, &e)); err != nil {
			t.Errorf("got %s: %v", body, err)
		}
		if time.Since(time.Unix(at, 0)).Abs() > time.Minute || r.Method != http.MethodPost ||
			r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s %v", r.Method, r.Header)
		}
		want := ""
		if key != "" {
			mac := hmac.New(sha256.New, []byte(key))
			_, _ = mac.Write([]byte(stamp + "." + string(body)))
			want = "sha256=" + hex.EncodeToString(mac.Sum(nil))
		}
		if got := r.Header.Get("X-Notesd-Signature"); got != want {
			t.Errorf("got signature %q, want %q", got, want)
		}
		in.events <- e
		w.WriteHeader(status)
	}))
	t.Cleanup(in.Close)
	return in
}

// next is the event that comes next.
func (in *receiver) next(t *testing.T) Event {
	t.Helper()
	select {
	case e := <-in.events:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event within 10 s")
		return Event{}
	}
}

// alerting are Alerts that run until the test ends.
func alerting(t *testing.T, url, key string) (*Alerts, *testkit.LogBuffer) {
	t.Helper()
	log := &testkit.LogBuffer{}
	a := NewAlerts(url, key, slog.New(slog.NewJSONHandler(log, nil)))
	done := make(chan bool)
	ctx := t.Context() // ends before the cleanups
	go func() { a.Run(ctx); close(done) }()
	t.Cleanup(func() { <-done; http.DefaultClient.CloseIdleConnections() })
	return a, log
}

// Events arrive in order, signed, with who sent them and when.
func TestAlerts(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"a key", ""} {
		in := newReceiver(t, key, http.StatusNoContent)
		a, log := alerting(t, in.URL, key)
		a.Send(Event{Kind: "memory_high", Subject: "process memory", Detail: map[string]any{"rss": 7}})
		a.Send(Event{Kind: "dependency_down", Subject: "database"})
		first, second := in.next(t), in.next(t)
		host, _ := os.Hostname()
		if first.Kind != "memory_high" || first.Subject != "process memory" || first.Detail["rss"] != 7.0 || first.Host != host ||
			time.Since(first.Time).Abs() > time.Minute || second.Kind != "dependency_down" || second.Detail != nil {
			t.Errorf("got %+v and %+v", first, second)
		}
		if log.String() != "" {
			t.Errorf("logged %s", log)
		}
	}
}

// OnEvent gets every event at once, with a webhook or without one.
func TestAlertsListener(t *testing.T) {
	t.Parallel()
	var told []string
	a := NewAlerts("", "", slog.New(slog.DiscardHandler))
	a.OnEvent = func(e Event) { told = append(told, e.Kind+" on "+e.Host) }
	host, _ := os.Hostname()
	for range 2 * maxRecent {
		a.Send(Event{Kind: "memory_high"})
	}
	if len(told) != 2*maxRecent || told[0] != "memory_high on "+host || a.webhook != nil {
		t.Errorf("told of %d events, first %v, with the webhook %v, want %d and none", len(told), told[:1], a.webhook, 2*maxRecent)
	}
}

// Without a webhook nothing happens.
func TestNoAlerts(t *testing.T) {
	var a *Alerts
	a.Send(Event{Kind: "memory_high"})
	a.Run(t.Context())
}

// Each thing that happens has a kind of its own, which Prometheus counts.
func TestAlertKinds(t *testing.T) {
	t.Parallel()
	a := NewAlerts("", "", slog.New(slog.DiscardHandler))
	down := errors.New("down")
	for _, send := range []func(){
		func() { a.Breaker(pool.BreakerEvent{Route: "/api/notes", Panics: 3, Fingerprint: "f"}) },
		func() { a.Breaker(pool.BreakerEvent{Route: "/api/notes", Released: true}) },
		func() { a.Stuck(pool.StuckEvent{Route: "/api/notes", Worker: 7, Held: time.Second}) },
		func() { a.Stuck(pool.StuckEvent{Route: "/api/notes", Recovered: true}) },
		func() { a.Pressure(pool.PressureNone, pool.PressureHigh, 1) },
		func() { a.Pressure(pool.PressureHigh, pool.PressureLow, 1) },
		func() { a.Memory(pool.MemoryEvent{Above: true}) },
		func() { a.Memory(pool.MemoryEvent{}) },
		func() { a.Dependency("database", down) },
		func() { a.Dependency("database", nil) },
		func() { a.Incident(incident.File{Reason: "slow"}) },
		func() { a.UpgradeFailed("notesd", down) },
		func() { a.TokenGuessed("203.0.113.0", 20) },
	} {
		send()
	}
	for _, kind := range eventKinds {
		if n := a.count(kind); n != 1 {
			t.Errorf("%d events of the kind %s, want 1", n, kind)
		}
	}
	if got := a.Recent(); len(got) != len(eventKinds) || got[0].Detail["wrongSinceStart"] != uint64(20) || got[len(got)-1].Detail["panics"] != 3 {
		t.Errorf("Recent() = %+v, want one event of each kind, the newest first", got)
	}
}
