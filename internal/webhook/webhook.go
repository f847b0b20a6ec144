// Package webhook posts JSON messages to a URL: in order, one at a time, signed, and with retries.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

const (
	postTimeout = 5 * time.Second // for one delivery
	maxTries    = 3               // for one message
	queueLength = 64              // messages that wait in the queue
)

// A Message is one delivery.
type Message struct {
	Event, Subject string // they name the message in the log
	Body           any    // it is posted as JSON
}

// A Sender posts messages to one webhook. Send never blocks: if the queue is full, the message is
// dropped and logged. Run delivers the messages.
//
// Each request carries X-Notesd-Timestamp (Unix seconds). If there is a key, it also carries
// X-Notesd-Signature, which is "sha256=" and a hexadecimal HMAC-SHA256 under the key. The HMAC
// covers the timestamp, a full stop and the body.
type Sender struct {
	url, key string
	log      *slog.Logger
	client   *http.Client
	queue    chan Message
}

// New returns a Sender for the webhook at url. Without a key the Sender does not sign.
func New(url, key string, log *slog.Logger) *Sender {
	return &Sender{url: url, key: key, log: log, queue: make(chan Message, queueLength),
		client: &http.Client{Timeout: postTimeout, CheckRedirect: noRedirect}}
}

// noRedirect prevents a redirect: a message must not go to a URL that only the receiver names.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Send queues m.
func (s *Sender) Send(m Message) {
	select {
	case s.queue <- m:
	default:
		s.log.Warn("alert dropped: the webhook is too slow", "event", m.Event, "subject", m.Subject)
	}
}

// Run delivers messages until ctx ends. It tries each of them maxTries times.
func (s *Sender) Run(ctx context.Context) {
	for {
		select {
		case m := <-s.queue:
			s.deliver(ctx, m)
		case <-ctx.Done():
			return
		}
	}
}

// deliver posts m, and retries if that fails. It logs the last failure.
func (s *Sender) deliver(ctx context.Context, m Message) {
	err := s.post(ctx, m)
	for try := 1; err != nil && try < maxTries; try++ {
		select {
		case <-time.After(time.Second << (try - 1)):
			err = s.post(ctx, m)
		case <-ctx.Done():
			return
		}
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	s.log.Warn("alert not delivered", "event", m.Event, "subject", m.Subject, "error", err)
}

// post posts m once. Its errors never contain the URL, which may contain a secret.
func (s *Sender) post(ctx context.Context, m Message) error {
	body, err := json.Marshal(m.Body)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("ALERT_WEBHOOK_URL is no URL")
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Notesd-Timestamp", timestamp)
	if s.key != "" {
		r.Header.Set("X-Notesd-Signature", "sha256="+s.sign(timestamp, body))
	}
	response, err := s.client.Do(r)
	if err != nil {
		return errors.New("the webhook did not answer")
	}
	_ = response.Body.Close()
	if response.StatusCode >= 300 {
		return fmt.Errorf("the webhook answered %d", response.StatusCode)
	}
	return nil
}

// sign returns the hexadecimal signature of a request.
func (s *Sender) sign(timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(s.key))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
