package router

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func TestParseObject(t *testing.T) {
	tests := []struct {
		name, body string
		want       int // members; -1: malformed
	}{
		{"empty", "", 0},
		{"blank", " \n", 0},
		{"object", `{"a":1,"A":2}`, 2},
		{"array", `[1]`, 0},
		{"number", `5`, -1},
		{"null", `null`, -1},
		{"cut", `{"a":`, -1},
		{"two values", `{} {}`, -1},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", -1},
		{"pair of surrogates", `{"a":"\ud83d\ude00"}`, 1},
		{"high surrogate alone", `{"a":"\ud83d"}`, -1},
		{"high before another escape", `{"a":"\ud83d\n"}`, -1},
		{"low surrogate alone", `{"a":"\ude00"}`, -1},
		{"pair the wrong way round", `{"a":"\ude00\ud83d"}`, -1},
		{"escaped backslash before u", `{"a":"\\ud83d"}`, 1},
		{"in a name", `{"\ud83d":1}`, -1},
		{"NUL escape", `{"a":"\u0000"}`, 1},
	}
	for _, tt := range tests {
		o, err := parseObject([]byte(tt.body))
		got := len(o)
		if errors.Is(err, errMalformed) {
			got = -1
		}
		if got != tt.want {
			t.Errorf("%s: parseObject(%s) has %d members (%v), want %d", tt.name, tt.body, got, err, tt.want)
		}
	}
}

// Names match exactly, and the last of two equal ones counts, as in JavaScript.
func TestObjectNames(t *testing.T) {
	o, err := parseObject([]byte(`{"Title":"no","title":"first","title":"last"}`))
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := o.Text("title"); s != "last" || !ok {
		t.Errorf(`text("title") = %q, %v, want "last", true`, s, ok)
	}
	if s, ok := o.Text("TITLE"); ok {
		t.Errorf(`text("TITLE") = %q, want none`, s)
	}
}

// What parseObject accepts, encoding/json reads without replacing anything:
// written again and read again it is the same text.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{`{"a":"b"}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud83d"}`, `{"a":"\\ud83d\""}`, `[`, `{"a":"\uFFFD"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := parseObject(body)
		if err != nil {
			return
		}
		if !utf8.Valid(body) {
			t.Fatalf("parseObject(%q) took invalid UTF-8", body)
		}
		for name, raw := range o {
			s, ok := o.Text(name)
			if !ok {
				continue
			}
			var halves bool
			for i := 0; i+1 < len(raw); i++ {
				if raw[i] == '\\' {
					r, isEscape := escaped(raw[i:])
					if isEscape && r == 0xFFFD {
						halves = true // really written so
					}
					i++
				}
			}
			plain, _ := json.Marshal(s)
			var again string
			if json.Unmarshal(plain, &again) != nil || again != s {
				t.Fatalf("%q does not survive: %q", s, again)
			}
			for _, r := range s {
				if r == utf8.RuneError && !halves && !containsReplacement(raw) {
					t.Fatalf("parseObject(%q) let %q be replaced", body, raw)
				}
			}
		}
	})
}

// containsReplacement tells whether U+FFFD itself stands in the text.
func containsReplacement(raw []byte) bool {
	for _, r := range string(raw) {
		if r == utf8.RuneError {
			return true
		}
	}
	return false
}

// What escapes says is what encoding/json does, or a little more.
func TestEscapes(t *testing.T) {
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		var encoded bytes.Buffer
		if err := EncodeJSON(&encoded, string(r)); err != nil {
			t.Fatal(err)
		}
		length := encoded.Len() - len("\"\"\n") // what is around it
		if got := len(string(r)) + escapes(string(r)); got < length || got > maxEscape*len(string(r)) {
			t.Errorf("%U has %d bytes in JSON, escapes says %d", r, length, got)
		}
	}
}

// arriving is a body of which some bytes come after each pause, and its deadline.
type arriving struct {
	http.ResponseWriter
	bytes    int
	pause    time.Duration
	deadline time.Time
}

func (a *arriving) SetReadDeadline(at time.Time) error {
	a.deadline = at
	return nil
}

func (a *arriving) Read(p []byte) (int, error) {
	if time.Until(a.deadline) < a.pause {
		time.Sleep(time.Until(a.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(a.pause)
	return min(a.bytes, len(p)), nil
}

// A body may be as long as it likes at the least rate, and pauses for less than 10 s as the rate allows.
func TestBodyPace(t *testing.T) {
	const hour = 225 * 16 * minRate // bytes at the least rate
	for _, tt := range []struct {
		name    string
		bytes   int
		pause   time.Duration
		total   int64
		allowed time.Duration // 0: it comes whole
	}{
		{"at the least rate", minRate, time.Second, hour, 0},
		{"at the least rate, in bursts", 9 * minRate, 9 * time.Second, hour, 0},
		{"at half of it", minRate / 2, time.Second, hour, time.Minute},
		{"fast, with a pause too long", 10 << 20, bodyPause + 1, hour, bodyPause},
		{"a byte at a time", 1, time.Second, hour, sendGrace},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &arriving{bytes: tt.bytes, pause: tt.pause}
				began := time.Now()
				in := &timedBody{Reader: a, ctrl: http.NewResponseController(a), began: began, most: math.MaxInt}
				_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(in, tt.total), make([]byte, 10<<20))
				if cut := isTimeout(err); cut != (tt.allowed > 0) || cut && time.Since(began).Round(2*time.Second) != tt.allowed {
					t.Errorf("%v after %v, want it cut after %v (0: never)", err, time.Since(began), tt.allowed)
				}
			})
		})
	}
}
