package server

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
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notesd/internal/testkit"
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
	t.Cleanup(func() { <-done; a.client.CloseIdleConnections() })
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

// A slow webhook makes nobody wait: what does not fit is dropped, and logged.
func TestAlertsDropped(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan bool, 100), make(chan bool)
	in := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- true; <-release }))
	t.Cleanup(in.Close)
	a, log := alerting(t, in.URL, "")
	a.Send(Event{Kind: "first"})
	<-arrived
	began := time.Now()
	for range alertQueue + 3 {
		a.Send(Event{Kind: "more"})
	}
	if took := time.Since(began); testkit.TooLong(took, 0, time.Second) {
		t.Errorf("sending took %v, want no time", took)
	}
	if n := strings.Count(log.String(), "alert dropped"); n != 3 {
		t.Errorf("%d dropped in the log, want 3:\n%s", n, log)
	}
	close(release)
	for range alertQueue {
		<-arrived
	}
}

// roundTrip is a transport of one function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What fails is tried three times, with growing breaks, then logged and left.
// The URL is in no line of the log: it may carry a secret.
func TestAlertsFail(t *testing.T) {
	const url = "https://user:secret@hooks.example/services/secret-path?token=secret"
	answer := func(status int) roundTrip {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: http.NoBody}, nil
		}
	}
	tests := []struct {
		name, url string
		transport roundTrip
		tries     int
		took      time.Duration
		log       string
	}{
		{"refused", url, func(r *http.Request) (*http.Response, error) { return nil, errors.New("dial " + r.URL.String()) }, 3,
			3 * time.Second, "the webhook did not answer"},
		{"500", url, answer(500), 3, 3 * time.Second, "the webhook answered 500"},
		{"404", url, answer(404), 3, 3 * time.Second, "the webhook answered 404"},
		{"silent", url, func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, 3,
			3*alertTime + 3*time.Second, "the webhook did not answer"},
		{"no URL", "https://secret@[", answer(200), 0, 3 * time.Second, "ALERT_WEBHOOK_URL is no URL"},
		{"well", url, answer(200), 1, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &testkit.LogBuffer{}
				a := NewAlerts(tt.url, "key", slog.New(slog.NewJSONHandler(log, nil)))
				tries := 0
				a.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) { tries++; return tt.transport(r) })
				began := time.Now()
				a.deliver(t.Context(), Event{Kind: "memory_high", Subject: "process memory"})
				if took := time.Since(began); tries != tt.tries || took != tt.took {
					t.Errorf("%d tries in %v, want %d in %v", tries, took, tt.tries, tt.took)
				}
				text := log.String()
				if tt.log == "" && text != "" || !strings.Contains(text, tt.log) || strings.Contains(text, "secret") {
					t.Errorf("logged %s, want %q and nothing of the URL", text, tt.log)
				}
			})
		})
	}
}

// Who listens is told of every event at once, webhook or none.
func TestAlertsListener(t *testing.T) {
	t.Parallel()
	var told []string
	a := NewAlerts("", "", slog.New(slog.DiscardHandler))
	a.OnEvent = func(e Event) { told = append(told, e.Kind+" on "+e.Host) }
	host, _ := os.Hostname()
	for range alertQueue + 1 { // nothing is queued that nobody would deliver
		a.Send(Event{Kind: "memory_high"})
	}
	if len(told) != alertQueue+1 || told[0] != "memory_high on "+host || len(a.queue) != 0 {
		t.Errorf("told of %d events, first %v, and %d wait for delivery", len(told), told[:1], len(a.queue))
	}
}

// Without a webhook nothing happens.
func TestNoAlerts(t *testing.T) {
	var a *Alerts
	a.Send(Event{Kind: "memory_high"})
	a.Run(t.Context())
}

// A webhook that sends elsewhere is one that failed: what is told goes where the
// administrator said, and nowhere else.
func TestAlertsRedirected(t *testing.T) {
	other := newReceiver(t, "", http.StatusOK)
	in := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(in.Close)
	alerts := NewAlerts(in.URL, "", slog.New(slog.DiscardHandler))
	if err := alerts.post(t.Context(), Event{Kind: "incident"}); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("post() = %v, want an error that says 307", err)
	}
	if n := len(other.events); n != 0 {
		t.Errorf("%d events went where the webhook said", n)
	}
	alerts.client.CloseIdleConnections()
}
