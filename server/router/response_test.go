package router

import (
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"notesd/server/listener"
)

// deadlines is a ResponseWriter that keeps the deadlines it is given.
type deadlines struct {
	*httptest.ResponseRecorder
	write time.Time
	sets  int
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.write = at
	d.sets++
	return nil
}

// A reader has 30 s for every send and a second more for each 16 KiB of it.
func TestLeastRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			bytes int
			want  time.Duration
		}{{0, 30 * time.Second}, {minRate - 1, 30 * time.Second}, {minRate, 31 * time.Second}, {1 << 20, 94 * time.Second}} {
			w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			a := newResponseWriter(&listener.Conn{}, w, httptest.NewRequest("GET", "/", nil), "id", new(atomic.Bool))
			_, _ = a.Write(make([]byte, tt.bytes))
			if err := a.send(); err != nil {
				t.Fatal(err)
			}
			if got := time.Until(w.write); got != tt.want+sendSlack {
				t.Errorf("%d bytes may take %v, want %v and %v more", tt.bytes, got, tt.want, sendSlack)
			}
		}
	})
}

// The deadline of an answer serves the next ones on its connection as long as
// it gives them their time.
func TestDeadlineServesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest("GET", "/", nil)
		r = r.WithContext(listener.WithConn(r.Context(), nil))
		for i, tt := range []struct {
			pause time.Duration
			bytes int
			left  time.Duration // until the deadline that the connection has then
			set   bool
		}{
			{0, 0, sendGrace + sendSlack, true},
			{sendSlack, 0, sendGrace, false},
			{time.Millisecond, 0, sendGrace + sendSlack, true},
			{0, minRate, sendGrace + sendSlack, false},
			{0, 2 * minRate, sendGrace + 2*time.Second + sendSlack, true}, // a longer one needs more
			{0, 0, sendGrace + sendSlack, true},                           // and a short one is not given as much
		} {
			time.Sleep(tt.pause)
			before := w.sets
			a := newResponseWriter(listener.ConnOf(r), w, r, "id", new(atomic.Bool))
			_, _ = a.Write(make([]byte, tt.bytes))
			if err := a.send(); err != nil {
				t.Fatal(err)
			}
			if got, set := time.Until(w.write), w.sets != before; got != tt.left || set != tt.set {
				t.Errorf("answer %d: %v until the deadline, set anew %v, want %v, %v", i, got, set, tt.left, tt.set)
			}
		}
	})
}

// A handler that sets no status responds with a 200, as with net/http.
func TestStatusByDefault(t *testing.T) {
	for name, fill := range map[string]func(w *responseWriter){
		"nothing":   func(*responseWriter) {},
		"SetBuffer": func(w *responseWriter) { (&Context{out: *w}).SetBuffer([]byte("x")) },
		"flush":     func(w *responseWriter) { _ = w.flush() },
	} {
		recorder := httptest.NewRecorder()
		w := newResponseWriter(&listener.Conn{}, recorder, httptest.NewRequest("GET", "/", nil), "id", new(atomic.Bool))
		fill(&w)
		if err := w.send(); err != nil || recorder.Code != 200 || w.status != 200 {
			t.Errorf("%s: status %d, %d, error %v; want 200", name, recorder.Code, w.status, err)
		}
	}
}
