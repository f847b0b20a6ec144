package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
)

// A line every MEMORY_MONITOR_INTERVAL with the share of each shard, and above
// MEMORY_THRESHOLD_MB one warning, one event on the webhook, and the metric.
func TestMemoryMonitoring(t *testing.T) {
	t.Parallel()
	const interval = 200 * time.Millisecond
	kinds := make(chan string, 100)
	webhook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e struct{ Event string }
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		kinds <- e.Event
	}))
	t.Cleanup(webhook.Close)
	p := start(t, "MEMORY_MONITOR_INTERVAL="+interval.String(), "MEMORY_THRESHOLD_MB=8", "ALERT_WEBHOOK_URL="+webhook.URL)
	shards := len(p.runtime().Pool.Shards)
	stop := readNothing(t, p.member("ada@example.com"))
	holds := func() bool {
		lines := p.log.With("memory")
		return len(lines) > 0 && total(lines[len(lines)-1]) > 0
	}
	p.await("a line with what a shard holds", holds)
	stop()
	p.await("a line with nothing held", func() bool { return !holds() })
	lines := p.log.With("memory")
	for _, line := range lines {
		if shares, _ := line["bytes_in_flight"].([]any); len(shares) != shards || line.Number("rss") <= 0 || line.Number("heap_live") < 0 {
			t.Errorf("line %v, want memory, and a share for each of %d shards", line, shards)
		}
	}
	p.await("more lines", func() bool { return len(p.log.With("memory")) >= 10 })
	lines = p.log.With("memory")
	// A busy machine writes a line late, and the next in time.
	if n, span := len(lines), at(t, lines[len(lines)-1]).Sub(at(t, lines[0])); span < time.Duration(n-3)*interval {
		t.Errorf("%d lines within %v, want one every %v", n, span, interval)
	}
	select {
	case kind := <-kinds:
		if kind != "memory_high" {
			t.Errorf("the webhook is told of %q, want memory_high", kind)
		}
	case <-time.After(patience):
		t.Error("the webhook is told of nothing")
	}
	if n := len(p.log.With("memory above threshold")); n != 1 {
		t.Errorf("%d warnings, want one for one crossing", n)
	}
	p.wantMetrics(t, "notesd_memory_above_threshold 1", "notesd_memory_threshold_crossings_total 1")
}

// wantMetrics fails the test unless /metrics has the lines.
func (p *process) wantMetrics(t *testing.T, lines ...string) {
	t.Helper()
	text := string(p.administrator().get("/metrics").want(http.StatusOK).text)
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("/metrics has no %s", line)
		}
	}
}

// total is what all shards hold, by a line of the memory monitor.
func total(line testkit.Entry) (n float64) {
	shares, _ := line["bytes_in_flight"].([]any)
	for _, share := range shares {
		bytes, _ := share.(float64)
		n += bytes
	}
	return n
}

// at is when a line was written.
func at(t *testing.T, line testkit.Entry) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339Nano, line.Text("time"))
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// readNothing asks for a list that no buffer on the way takes in whole, and reads nothing of it until stop is called.
func readNothing(t *testing.T, c *client) (stop func()) {
	t.Helper()
	for range 16 {
		c.create("large", strings.Repeat("Eight ch", 1_000_000/8))
	}
	w := c.wire()
	if err := w.dial(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	if _, err := fmt.Fprintf(w.conn, "GET /api/notes HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", w.addr, w.cookie); err != nil {
		t.Fatal(err)
	}
	return w.close
}
