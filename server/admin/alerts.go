package admin

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"notesd/internal/incident"
	"notesd/internal/webhook"
	"notesd/pool"
)

// maxRecent is how many of the last events /api/runtime shows.
const maxRecent = 50

// eventKinds are all values of Event.Kind.
var eventKinds = []string{"memory_high", "memory_normal", "memory_stage_up", "memory_stage_down", "dependency_down",
	"dependency_up", "route_quarantined", "route_released", "worker_stuck", "worker_recovered", "upgrade_failed",
	"incident", "admin_token_guessed"}

// An Event is a fact that the operators of the server want to know.
type Event struct {
	Kind    string         `json:"event"`   // one of eventKinds
	Subject string         `json:"subject"` // what the event is about
	Detail  map[string]any `json:"detail,omitempty"`
	Time    time.Time      `json:"time"`
	Host    string         `json:"host"`
}

// Alerts keeps the last events, counts all events, and posts each to ALERT_WEBHOOK_URL. A nil
// *Alerts ignores events.
type Alerts struct {
	// OnEvent is called with each event, by the caller of Send. It must not block. It may be nil,
	// and is set before the first event.
	OnEvent func(Event)

	webhook *webhook.Sender // nil: events are not posted

	mu     sync.Mutex // guards the fields below
	recent []Event    // at most maxRecent, the oldest first
	counts map[string]uint64
}

// NewAlerts makes Alerts for the webhook at url, which may be empty. Run delivers.
func NewAlerts(url, key string, log *slog.Logger) *Alerts {
	a := &Alerts{counts: map[string]uint64{}}
	if url != "" {
		a.webhook = webhook.New(url, key, log)
	}
	return a
}

// Send adds the time and the host's name to e, and passes it on. It does not block.
func (a *Alerts) Send(e Event) {
	if a == nil {
		return
	}
	e.Time = time.Now().UTC()
	e.Host, _ = os.Hostname()
	a.keep(e)
	if a.OnEvent != nil {
		a.OnEvent(e)
	}
	if a.webhook != nil {
		a.webhook.Send(webhook.Message{Event: e.Kind, Subject: e.Subject, Body: e})
	}
}

// Breaker sends an event when a route is quarantined and when it is released. It is the pool's
// OnBreaker.
func (a *Alerts) Breaker(e pool.BreakerEvent) {
	kind := "route_quarantined"
	if e.Released {
		kind = "route_released"
	}
	a.Send(Event{Kind: kind, Subject: e.Route,
		Detail: map[string]any{"panics": e.Panics, "fingerprint": e.Fingerprint}})
}

// Stuck sends an event when a worker is stuck and when it has recovered. It is the pool's OnStuck.
func (a *Alerts) Stuck(e pool.StuckEvent) {
	kind := "worker_stuck"
	if e.Recovered {
		kind = "worker_recovered"
	}
	a.Send(Event{Kind: kind, Subject: e.Route,
		Detail: map[string]any{"worker": e.Worker, "replacement": e.Replacement, "heldMs": e.Held.Milliseconds()}})
}

// Pressure sends an event when the memory pressure rises or falls. needed is the memory, in bytes,
// that a garbage collection would not free.
func (a *Alerts) Pressure(before, now pool.Pressure, needed int64) {
	kind := "memory_stage_down"
	if now > before {
		kind = "memory_stage_up"
	}
	a.Send(Event{Kind: kind, Subject: now.String(),
		Detail: map[string]any{"before": before.String(), "needed": needed}})
}

// Memory sends an event when the process's memory exceeds its threshold and when it is below again.
// It is the memory monitor's OnEvent.
func (a *Alerts) Memory(e pool.MemoryEvent) {
	kind := "memory_normal"
	if e.Above {
		kind = "memory_high"
	}
	a.Send(Event{Kind: kind, Subject: "process memory",
		Detail: map[string]any{"rss": e.Memory.RSS, "threshold": e.Threshold}})
}

// Dependency sends an event when a dependency is lost (err is why) and when it is back (err is nil).
func (a *Alerts) Dependency(name string, err error) {
	kind := "dependency_up"
	if err != nil {
		kind = "dependency_down"
	}
	a.Send(Event{Kind: kind, Subject: name})
}

// Incident sends an event for a file that the incident recorder has written.
func (a *Alerts) Incident(f incident.File) {
	a.Send(Event{Kind: "incident", Subject: f.Reason, Detail: map[string]any{"file": f.Name, "bytes": f.Bytes}})
}

// UpgradeFailed sends an event for an upgrade to the binary at path that did not succeed.
func (a *Alerts) UpgradeFailed(path string, err error) {
	a.Send(Event{Kind: "upgrade_failed", Subject: path, Detail: map[string]any{"error": err.Error()}})
}

// TokenGuessed sends an event for a network that guesses at the administrator token. guesses is the
// number of wrong tokens, of all networks, since the start.
func (a *Alerts) TokenGuessed(network string, guesses uint64) {
	a.Send(Event{Kind: "admin_token_guessed", Subject: network, Detail: map[string]any{"wrongSinceStart": guesses}})
}

// keep counts e and adds it to the last events.
func (a *Alerts) keep(e Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[e.Kind]++
	a.recent = append(a.recent, e)
	if len(a.recent) > maxRecent {
		a.recent = slices.Delete(a.recent, 0, 1)
	}
}

// Recent returns the last events, the newest first.
func (a *Alerts) Recent() []Event {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	recent := slices.Clone(a.recent)
	slices.Reverse(recent)
	return recent
}

// count returns how many events of a kind there were since the start.
func (a *Alerts) count(kind string) uint64 {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts[kind]
}

// Run delivers to the webhook, if there is one, until ctx ends.
func (a *Alerts) Run(ctx context.Context) {
	if a != nil && a.webhook != nil {
		a.webhook.Run(ctx)
	}
}
