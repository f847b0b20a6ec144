package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notesd/internal/testkit"
)

// newSender returns a Sender and its log.
func newSender(url, key string) (*Sender, *testkit.LogBuffer) {
	log := &testkit.LogBuffer{}
	return New(url, key, slog.New(slog.NewJSONHandler(log, nil))), log
}

// start runs s until the test ends.
func start(t *testing.T, s *Sender) {
	t.Helper()
	done := make(chan bool)
	ctx := t.Context() // ends before the cleanups
	go func() { s.Run(ctx); close(done) }()
	t.Cleanup(func() { <-done; s.client.CloseIdleConnections() })
}

// Messages arrive in order, as JSON, and signed if there is a key.
func TestSend(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"a key", ""} {
		bodies := make(chan string, 10)
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			timestamp := r.Header.Get("X-Notesd-Timestamp")
			at, numberErr := strconv.ParseInt(timestamp, 10, 64)
			if err := errors.Join(err, numberErr); err != nil {
				t.Errorf("got %s: %v", body, err)
			}
			if time.Since(time.Unix(at, 0)).Abs() > time.Minute || r.Method != http.MethodPost ||
				r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("got %s %v", r.Method, r.Header)
			}
			want := ""
			if key != "" {
				mac := hmac.New(sha256.New, []byte(key))
				_, _ = mac.Write([]byte(timestamp + "." + string(body)))
				want = "sha256=" + hex.EncodeToString(mac.Sum(nil))
			}
			if got := r.Header.Get("X-Notesd-Signature"); got != want {
				t.Errorf("got signature %q, want %q", got, want)
			}
			bodies <- string(body)
		}))
		t.Cleanup(receiver.Close)
		s, log := newSender(receiver.URL, key)
		start(t, s)
		s.Send(Message{Event: "first", Body: map[string]int{"n": 1}})
		s.Send(Message{Event: "second", Body: map[string]int{"n": 2}})
		for _, want := range []string{`{"n":1}`, `{"n":2}`} {
			select {
			case got := <-bodies:
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("no message within 10 s")
			}
		}
		if log.String() != "" {
			t.Errorf("logged %s", log)
		}
	}
}

// A slow webhook does not block Send: messages beyond the queue are dropped and logged.
func TestDropped(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan bool, 100), make(chan bool)
	slow := func(http.ResponseWriter, *http.Request) { arrived <- true; <-release }
	receiver := httptest.NewServer(http.HandlerFunc(slow))
	t.Cleanup(receiver.Close)
	s, log := newSender(receiver.URL, "")
	start(t, s)
	s.Send(Message{Event: "first"})
	<-arrived
	for range queueLength + 3 { // a Send that blocked would wait for release
		s.Send(Message{Event: "more"})
	}
	if n := strings.Count(log.String(), "alert dropped"); n != 3 {
		t.Errorf("%d dropped in the log, want 3:\n%s", n, log)
	}
	close(release)
	for range queueLength {
		<-arrived
	}
}

// roundTrip is a transport of one function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A delivery that fails is tried three times, with growing pauses, and then logged and given up.
// The log never shows the URL, which may contain a secret.
func TestFailures(t *testing.T) {
	const url = "https://user:secret@hooks.example/services/secret-path?token=secret"
	answer := func(status int) roundTrip {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: http.NoBody}, nil
		}
	}
	refused := func(r *http.Request) (*http.Response, error) { return nil, errors.New("dial " + r.URL.String()) }
	silent := func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }
	tests := []struct {
		name, url string
		transport roundTrip
		tries     int
		took      time.Duration
		log       string
	}{
		{"refused", url, refused, 3, 3 * time.Second, "the webhook did not answer"},
		{"500", url, answer(500), 3, 3 * time.Second, "the webhook answered 500"},
		{"404", url, answer(404), 3, 3 * time.Second, "the webhook answered 404"},
		{"silent", url, silent, 3, 3*postTimeout + 3*time.Second, "the webhook did not answer"},
		{"no URL", "https://secret@[", answer(200), 0, 3 * time.Second, "ALERT_WEBHOOK_URL is no URL"},
		{"success", url, answer(200), 1, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, log := newSender(tt.url, "key")
				tries := 0
				s.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) { tries++; return tt.transport(r) })
				began := time.Now()
				s.deliver(t.Context(), Message{Event: "memory_high", Subject: "process memory"})
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

// A webhook that redirects is one that failed: messages go to the URL that the administrator set,
// and nowhere else.
func TestRedirected(t *testing.T) {
	t.Parallel()
	requests := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ }))
	t.Cleanup(other.Close)
	receiver := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(receiver.Close)
	s, _ := newSender(receiver.URL, "")
	defer s.client.CloseIdleConnections()
	if err := s.post(t.Context(), Message{Event: "incident"}); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("post() = %v, want an error that says 307", err)
	}
	if requests != 0 {
		t.Errorf("%d requests followed the redirect", requests)
	}
}
