package server

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	alertTime  = 5 * time.Second // for one delivery
	alertTries = 3
	alertQueue = 64
	keptEvents = 50 // for /api/runtime
)

// eventKinds are all that Event.Kind may be.
var eventKinds = []string{"memory_high", "memory_normal", "memory_stage_up", "memory_stage_down", "dependency_down", "dependency_up",
	"route_quarantined", "route_released", "worker_stuck", "worker_recovered", "upgrade_failed", "incident", "admin_token_guessed"}

// Event is something that the people who run the server want to know of.
type Event struct {
	Kind    string         `json:"event"`   // one of eventKinds
	Subject string         `json:"subject"` // what it is about
	Detail  map[string]any `json:"detail,omitempty"`
	Time    time.Time      `json:"time"`
	Host    string         `json:"host"`
}

// Alerts posts events to ALERT_WEBHOOK_URL, in order and one at a time. It
// never makes anybody wait: when its queue is full, the event is dropped and
// logged. Without a url it posts nothing, but keeps the last events all the same;
// a nil *Alerts drops everything silently.
//
// Each delivery carries X-Notesd-Timestamp (Unix seconds) and, when key is
// set, X-Notesd-Signature: "sha256=" and the hexadecimal HMAC-SHA256 under key
// of the timestamp, a full stop and the body.
type Alerts struct {
	// OnEvent is told of each event as well, by whoever sends it. It must not
	// block; nil is allowed. It is set before the first.
	OnEvent func(Event)

	url, key string
	log      *slog.Logger
	client   *http.Client
	queue    chan Event

	mu     sync.Mutex // guards what follows
	recent []Event    // at most keptEvents, the oldest first
	counts map[string]uint64
}

// NewAlerts makes Alerts for a webhook; Run delivers.
func NewAlerts(url, key string, log *slog.Logger) *Alerts {
	return &Alerts{url: url, key: key, log: log, client: &http.Client{Timeout: alertTime, CheckRedirect: noRedirect}, queue: make(chan Event, alertQueue),
		counts: map[string]uint64{}}
}

// noRedirect keeps an event from going where only the receiver says.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Send queues e. It stamps it with the time and the host's name.
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
	if a.url == "" {
		return
	}
	select {
	case a.queue <- e:
	default:
		a.log.Warn("alert dropped: the webhook is too slow", "event", e.Kind, "subject", e.Subject)
	}
}

// keep counts e and puts it to the last ones.
func (a *Alerts) keep(e Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[e.Kind]++
	a.recent = append(a.recent, e)
	if len(a.recent) > keptEvents {
		a.recent = slices.Delete(a.recent, 0, 1)
	}
}

// Recent are the last events, the newest first.
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

// count is how many events of a kind there were since the start.
func (a *Alerts) count(kind string) uint64 {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts[kind]
}

// Run delivers until ctx ends. What fails is tried again, alertTries times in all.
func (a *Alerts) Run(ctx context.Context) {
	if a == nil {
		return
	}
	for {
		select {
		case e := <-a.queue:
			a.deliver(ctx, e)
		case <-ctx.Done():
			return
		}
	}
}

func (a *Alerts) deliver(ctx context.Context, e Event) {
	err := a.post(ctx, e)
	for try := 1; err != nil && try < alertTries; try++ {
		select {
		case <-time.After(time.Second << (try - 1)):
			err = a.post(ctx, e)
		case <-ctx.Done():
			return
		}
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	a.log.Warn("alert not delivered", "event", e.Kind, "subject", e.Subject, "error", err)
}

// post delivers e once. Its errors never hold the URL: it may carry a secret.
func (a *Alerts) post(ctx context.Context, e Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ALERT_WEBHOOK_URL is no URL")
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Notesd-Timestamp", stamp)
	if a.key != "" {
		mac := sign([]byte(a.key), append([]byte(stamp+"."), body...))
		r.Header.Set("X-Notesd-Signature", "sha256="+hex.EncodeToString(mac))
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return fmt.Errorf("the webhook did not answer")
	}
	_ = answer.Body.Close()
	if answer.StatusCode >= 300 {
		return fmt.Errorf("the webhook answered %d", answer.StatusCode)
	}
	return nil
}
