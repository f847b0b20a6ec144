package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A line every MEMORY_MONITOR_INTERVAL with the share of each shard, and above
// MEMORY_THRESHOLD_MB one warning, one event on the webhook, and the metric.
func TestMemoryMonitoring(t *testing.T) {
	t.Parallel()
	const interval = 200 * time.Millisecond
	kinds := make(chan string, 100)
	webhook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e struct{ Kind string }
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		kinds <- e.Kind
	}))
	t.Cleanup(webhook.Close)
	p := start(t, "MEMORY_MONITOR_INTERVAL="+interval.String(), "MEMORY_THRESHOLD_MB=8", "ALERT_WEBHOOK_URL="+webhook.URL)
	const held = 1 << 20
	send := sendHalf(t, p.member("ada@example.com").wire(), held)

	shards := len(p.runtime().Pool.Shards)
	p.await("a line with what a shard holds", func() bool {
		lines := p.log.with("memory")
		return len(lines) > 0 && total(lines[len(lines)-1]) >= held
	})
	send()
	p.await("a line when nothing is held", func() bool { lines := p.log.with("memory"); return total(lines[len(lines)-1]) == 0 })
	lines := p.log.with("memory")
	for i, line := range lines {
		if shares, _ := line["bytes_in_flight"].([]any); len(shares) != shards || line.number("rss") <= 0 || line.number("heap_live") < 0 {
			t.Errorf("line %v, want memory, and a share for each of %d shards", line, shards)
		}
		if i > 0 && at(t, line).Sub(at(t, lines[i-1])) < interval/2 {
			t.Errorf("lines at %v and %v, want %v between them", lines[i-1]["time"], line["time"], interval)
		}
	}
	select {
	case kind := <-kinds:
		if kind != "memory_high" {
			t.Errorf("the webhook is told of %q, want memory_high", kind)
		}
	case <-time.After(patience):
		t.Error("the webhook is told of nothing")
	}
	if n := len(p.log.with("memory above threshold")); n != 1 {
		t.Errorf("%d warnings, want one for one crossing", n)
	}
	metrics := string(p.visitor().get("/metrics").want(http.StatusOK).text)
	for _, want := range []string{"\nnotesd_memory_above_threshold 1\n", "\nnotesd_memory_threshold_crossings_total 1\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics has no %q", want)
		}
	}
}

// total is what all shards hold, by a line of the memory monitor.
func total(line entry) (n float64) {
	shares, _ := line["bytes_in_flight"].([]any)
	for _, share := range shares {
		bytes, _ := share.(float64)
		n += bytes
	}
	return n
}

// at is when a line was written.
func at(t *testing.T, line entry) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339Nano, line.text("time"))
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// sendHalf posts half of a note of 2n bytes. The function it returns posts the rest and reads the answer.
func sendHalf(t *testing.T, w *wire, n int) (rest func()) {
	t.Helper()
	if err := w.dial(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	body := fmt.Sprintf(`{"title":"large","content":"%s"}`, strings.Repeat("x", 2*n))
	if _, err := fmt.Fprintf(w.conn, "POST /api/notes HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\n\r\n%s", w.addr, w.cookie, len(body), body[:len(body)/2]); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if _, err := w.conn.Write([]byte(body[len(body)/2:])); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(w.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusCreated {
			t.Errorf("POST /api/notes = %d, want 201", answer.StatusCode)
		}
		_ = answer.Body.Close()
	}
}
