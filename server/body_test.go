package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
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
	if s, ok := o.text("title"); s != "last" || !ok {
		t.Errorf(`text("title") = %q, %v, want "last", true`, s, ok)
	}
	if s, ok := o.text("TITLE"); ok {
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
			s, ok := o.text(name)
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
		if err := encodeJSON(&encoded, string(r)); err != nil {
			t.Fatal(err)
		}
		length := encoded.Len() - len("\"\"\n") // what is around it
		if got := len(string(r)) + escapes(string(r)); got < length || got > maxEscape*len(string(r)) {
			t.Errorf("%U has %d bytes in JSON, escapes says %d", r, length, got)
		}
	}
}
