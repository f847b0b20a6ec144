package server

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"notesd/internal/webhook"
)

// maxRecent is how many of the last events /api/runtime shows.
const maxRecent = 50

// eventKinds are all values of Event.Kind.
var eventKinds = []string{"memory_high", "memory_normal", "memory_stage_up", "memory_stage_down", "dependency_down", "dependency_up",
	"route_quarantined", "route_released", "worker_stuck", "worker_recovered", "upgrade_failed", "incident", "admin_token_guessed"}

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

// tellOfGuesses logs that a network guesses at the administrator token, and sends an event.
func (s *Server) tellOfGuesses(network string, guesses uint64) {
	s.log.LogAttrs(context.Background(), slog.LevelWarn, "somebody guesses at the administrators' token",
		slog.String("network", network), slog.Uint64("wrong_since_start", guesses))
	s.alerts.Send(Event{Kind: "admin_token_guessed", Subject: network, Detail: map[string]any{"wrongSinceStart": guesses}})
}
