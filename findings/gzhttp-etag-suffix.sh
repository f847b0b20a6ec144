#!/usr/bin/env bash
# Software: github.com/klauspost/compress v1.20.3, gzhttp with SuffixETag (Go).
# Expected: the suffix, there to keep the ETags of the plain and of the compressed answer apart, comes
#   off again when a client sends the ETag back, so that revalidation works as without it.
# What happens: it goes one way. The handler is asked whether "v1-gzip" is current, and says no: a client that accepts
#   gzip never gets a 304, and If-Match: "v1-gzip" is 412 each time. curl without --compressed gets
#   "v1", and all is well. With zstd the suffix is -zstd, whatever was given.
# Who meets it: a Go server with conditional requests that follows the advice to use distinct ETags.
# What to do: take the suffix off If-Match and If-None-Match before the handler, or leave the option out.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"
)

func main() {
	wrap, err := gzhttp.NewWrapper(gzhttp.SuffixETag("-gzip"))
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "note.txt", time.Time{}, strings.NewReader(strings.Repeat("a note ", 1000)))
	})))
	defer server.Close()
	send := func(encoding, header, etag string) (int, string) {
		req, _ := http.NewRequest(http.MethodGet, server.URL, nil)
		req.Header.Set("Accept-Encoding", encoding)
		req.Header.Set(header, etag)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			panic(err)
		}
		res.Body.Close()
		return res.StatusCode, res.Header.Get("ETag")
	}
	for _, encoding := range []string{"identity", "gzip", "zstd"} {
		_, etag := send(encoding, "Accept", "*/*")
		again, _ := send(encoding, "If-None-Match", etag)
		match, _ := send(encoding, "If-Match", etag)
		fmt.Println(encoding, "ETag", etag, "If-None-Match", again, "If-Match", match)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/klauspost/compress/gzhttp@v1.20.3 >/dev/null 2>&1
seen=$(go run .)

echo 'software: klauspost/compress/gzhttp v1.20.3'
echo 'expected: If-None-Match 304 and If-Match 200 in each line'
echo 'seen:'
echo "$seen"
if [[ $seen == 'identity ETag "v1" If-None-Match 304 If-Match 200
gzip ETag "v1-gzip" If-None-Match 200 If-Match 412
zstd ETag "v1-zstd" If-None-Match 200 If-Match 412' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: gzhttp no longer behaves as described above.'
	exit 1
fi
