#!/usr/bin/env bash
# Software: golang.org/x/net/webdav of v0.61.0 (Go).
# Expected: LOCK without a Timeout is answered with the time the lock lasts; as long as it lasts,
#   PROPFIND shows it in lockdiscovery (RFC 4918, 15.8 and 9.10.1).
# What happens: a lock without end is answered with <timeout>Second-0</timeout>: read as it stands,
#   it has ended. lockdiscovery is 404, so that no client sees the lock: cadaver's "discover" says
#   "no locks found". Yet it holds: a write is 423, with MemLS until the process ends.
# Who meets it: a server built on the package; editors and cadaver send no Timeout. A client that
#   crashed leaves a file that nobody can write and nobody can see why.
# What to do: set a Timeout on requests that have none or "Infinite" before the handler, at most
#   some minutes; answer lockdiscovery yourself if clients must see locks.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"time"

	"golang.org/x/net/webdav"
)

func main() {
	server := httptest.NewServer(&webdav.Handler{FileSystem: webdav.NewMemFS(), LockSystem: webdav.NewMemLS()})
	defer server.Close()
	send := func(method, body string) (int, string) {
		req, _ := http.NewRequest(method, server.URL+"/note.md", strings.NewReader(body))
		req.Header.Set("Depth", "0")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(text)
	}
	send("PUT", "text")
	_, lock := send("LOCK", `<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>`+
		`<locktype><write/></locktype></lockinfo>`)
	fmt.Println("the lock lasts:", regexp.MustCompile(`timeout>([^<]*)<`).FindStringSubmatch(lock)[1])
	time.Sleep(2 * time.Second)
	_, props := send("PROPFIND", `<propfind xmlns="DAV:"><prop><lockdiscovery/></prop></propfind>`)
	fmt.Println("lockdiscovery:", regexp.MustCompile(`HTTP/1.1 (\d+)`).FindStringSubmatch(props)[1])
	status, _ := send("PUT", "other")
	fmt.Println("a write 2 s later:", status)
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/net@v0.61.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: golang.org/x/net/webdav of v0.61.0'
echo 'expected: Infinite, 200, 423'
echo 'seen:'
echo "$seen"
if [[ $seen == 'the lock lasts: Second-0
lockdiscovery: 404
a write 2 s later: 423' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: golang.org/x/net/webdav no longer behaves as described above.'
	exit 1
fi
