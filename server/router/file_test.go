package router

import (
	"cmp"
	"net/http"
	"testing"
)

func TestAcceptsCoding(t *testing.T) {
	t.Parallel()
	text := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	f := File{Plain: text("plain"), Gzip: text("gzip"), Zstd: text("zstd")}
	tests := []struct {
		accept []string
		want   string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"gzip"}, "gzip"},
		{[]string{"GZIP"}, "gzip"},
		{[]string{"x-gzip"}, "gzip"},
		{[]string{"gzip, deflate, br, zstd"}, "zstd"},
		{[]string{"gzip, zstd;q=0"}, "gzip"},
		{[]string{"zstd"}, "zstd"},
		{[]string{"br", "gzip;q=0.1"}, "gzip"},
		{[]string{"gzip;q=0"}, ""},
		{[]string{"gzip; q=0.000, br"}, ""},
		{[]string{"gzip;q=much"}, ""},
		{[]string{"gzipped"}, ""},
		{[]string{"identity"}, ""},
		{[]string{"*"}, ""}, // the plain file is acceptable as well
	}
	for _, tt := range tests {
		coding, body := f.choose(http.Header{"Accept-Encoding": tt.accept})
		if text := string(body()); coding != tt.want || text != cmp.Or(coding, "plain") {
			t.Errorf("the coding for %q is %q with %q, want %q", tt.accept, coding, text, tt.want)
		}
	}
}
