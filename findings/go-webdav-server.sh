#!/usr/bin/env bash
# Software: github.com/emersion/go-webdav v0.6.0 (Go), its Handler over LocalFileSystem.
# Expected: PUT with If-None-Match: * makes a file and never replaces one (412), and If-Match with
#   an old ETag is 412, as the server gives ETags. MKCOL on a folder that exists is 405. A listing
#   of / names the folder itself "/".
# What happens: both PUTs replace the file. MKCOL is 500. The folder itself is named "/.", so that
#   clients which leave out the entry of the folder itself show one more folder, ".".
# Who meets it: sync clients: many make sure that a folder exists by MKCOL and go on after a 405
#   only; a lost update is what the conditional PUT was sent to prevent.
# What to do: wrap the handler: check the conditions and MKCOL before it, or write another.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir files

cat >main.go <<'GO'
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"

	"github.com/emersion/go-webdav"
)

func main() {
	server := httptest.NewServer(&webdav.Handler{FileSystem: webdav.LocalFileSystem("files")})
	defer server.Close()
	send := func(method, path, header, value, body string) (int, string) {
		req, _ := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		req.Header.Set(header, value)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(text)
	}
	send("PUT", "/note.md", "Accept", "*/*", "first")
	none, _ := send("PUT", "/note.md", "If-None-Match", "*", "second")
	match, _ := send("PUT", "/note.md", "If-Match", `"of last week"`, "third")
	_, text := send("GET", "/note.md", "Accept", "*/*", "")
	fmt.Println("PUT If-None-Match: *:", none, " PUT If-Match:", match, " text:", text)
	send("MKCOL", "/folder", "Accept", "*/*", "")
	status, _ := send("MKCOL", "/folder", "Accept", "*/*", "")
	fmt.Println("MKCOL again:", status)
	_, list := send("PROPFIND", "/", "Depth", "1", "")
	fmt.Println("names:", regexp.MustCompile(`<href>([^<]*)</href>`).FindAllString(list, -1))
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/emersion/go-webdav@v0.6.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: emersion/go-webdav v0.6.0'
echo 'expected: 412, 412, first; 405; / first among the names'
echo 'seen:'
echo "$seen"
if [[ $seen == 'PUT If-None-Match: *: 204  PUT If-Match: 204  text: third
MKCOL again: 500
names: [<href>/.</href> <href>/folder</href> <href>/note.md</href>]' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: go-webdav no longer behaves as described above.'
	exit 1
fi
