package router

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Text reads what encoding/json reads, however the text is escaped.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		text.WriteString(`"`)
		for _, piece := range rapid.SliceOf(rapid.SampledFrom([]string{`a`, `é`, `\n`, `\\`, `\"`, `\/`, `\b`, `\f`, `\r`, `\t`,
			`\u0041`, `\ud83d\ude00`, `n`, ` `})).Draw(t, "pieces") {
			text.WriteString(piece)
		}
		text.WriteString(`"`)
		o, err := parseObject([]byte(`{"a":` + text.String() + `}`))
		if err != nil {
			t.Fatal(err)
		}
		var want string
		if err := json.Unmarshal([]byte(text.String()), &want); err != nil {
			t.Fatal(err)
		}
		if got, ok := o.Text("a"); got != want || !ok {
			t.Errorf("Text of %s = %q, %t, want %q", text.String(), got, ok, want)
		}
	})
}

func BenchmarkText(b *testing.B) {
	text, err := json.Marshal(map[string]string{"a": strings.Repeat("A line of a note, as long as they are.\n", 25)})
	if err != nil {
		b.Fatal(err)
	}
	o, err := parseObject(text)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Text", func(b *testing.B) {
		for b.Loop() {
			o.Text("a")
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			var s string
			_ = json.Unmarshal(o["a"], &s)
		}
	})
}
