package server

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
	"testing"
)

// packed is text in a content coding.
func packed(t testing.TB, coding, text string) string {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	case "raw deflate":
		w, _ = flate.NewWriter(&out, flate.BestCompression)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Bodies are taken in the codings that Express takes, with a byte order mark or without, and never for more than
// the limit once they are unpacked.
func TestBodyCoding(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.BodyLimit = limit })
	c := s.someone()
	const note, mark = `{"title":"ä","content":"b"}`, "\ufeff"
	const malformed, bad = "Malformed JSON", "Request body is not what its Content-Encoding says"
	const unsupported, large = "Content-Encoding not supported: gzip and deflate are", "Request body too large"
	head, tail := `{"title":"a","content":"`, `"}`
	fitting := head + strings.Repeat("x", limit-len(head+tail)) + tail
	tests := []struct {
		name, coding, body string
		status             int
		text               string
	}{
		{"plain", "", note, 201, ""},
		{"identity", "identity", note, 201, ""},
		{"byte order mark", "", mark + note, 201, ""},
		{"two byte order marks", "", mark + mark + note, 400, malformed},
		{"byte order mark inside", "", "{" + mark + note[1:], 400, malformed},
		{"gzip", "gzip", packed(t, "gzip", note), 201, ""},
		{"GZIP", "GZIP", packed(t, "gzip", note), 201, ""},
		{"x-gzip", "x-gzip", packed(t, "gzip", note), 201, ""},
		{"gzip of a byte order mark", "gzip", packed(t, "gzip", mark+note), 201, ""},
		{"gzip in two members", "gzip", packed(t, "gzip", note[:9]) + packed(t, "gzip", note[9:]), 201, ""},
		{"deflate", "deflate", packed(t, "deflate", note), 201, ""},
		{"raw deflate", "deflate", packed(t, "raw deflate", note), 400, bad},
		{"gzip cut", "gzip", packed(t, "gzip", note)[:20], 400, bad},
		{"gzip and more", "gzip", packed(t, "gzip", note) + "more", 400, bad},
		{"deflate and more", "deflate", packed(t, "deflate", note) + "more", 400, bad},
		{"no gzip", "gzip", note, 400, bad},
		{"gzip of nothing", "gzip", "", 400, bad},
		{"gzip of no JSON", "gzip", packed(t, "gzip", "{"), 400, malformed},
		{"brotli", "br", note, 415, unsupported},
		{"two codings", "gzip, gzip", packed(t, "gzip", packed(t, "gzip", note)), 415, unsupported},
		{"gzip of all that fits", "gzip", packed(t, "gzip", fitting), 201, ""},
		{"gzip of a byte more", "gzip", packed(t, "gzip", fitting+" "), 413, large},
		{"deflate of a byte more", "deflate", packed(t, "deflate", fitting+" "), 413, large},
		{"gzip of much more", "gzip", packed(t, "gzip", strings.Repeat(" ", 4*limit)), 413, large},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			if tt.coding != "" {
				headers = []string{"Content-Encoding", tt.coding}
			}
			r := c.in(t).post("/api/notes", tt.body, headers...).want(tt.status)
			if tt.status != http.StatusCreated {
				r.fails(tt.status, tt.text)
			}
			if tt.status == http.StatusUnsupportedMediaType {
				wantHeader(t, r, "Accept-Encoding", "gzip, deflate")
			}
		})
	}
	t.Run("credentials", func(t *testing.T) { // their limit is their own
		bomb := packed(t, "gzip", strings.Repeat(" ", smallBody+1))
		s.visitor().in(t).post("/api/auth/login", bomb, "Content-Encoding", "gzip").fails(http.StatusRequestEntityTooLarge, large)
	})
	t.Run("under an idempotency key", func(t *testing.T) { // the body is what it says
		c := c.in(t)
		first := c.post("/api/notes", note, "Idempotency-Key", "k").want(http.StatusCreated).note()
		again := c.post("/api/notes", packed(t, "gzip", note), "Idempotency-Key", "k", "Content-Encoding", "gzip").want(http.StatusCreated).note()
		if first.ID != again.ID {
			t.Errorf("the same body made the notes %s and %s", first.ID, again.ID)
		}
	})
}
