#!/usr/bin/env bash
# Software: golang.org/x/net/webdav of v0.61.0 with webdav.Dir, github.com/emersion/go-webdav v0.6.0
#   with LocalFileSystem (Go).
# Expected: a PUT whose connection breaks off changes nothing: the server knows from Content-Length
#   that the body is not whole.
# What happens: both empty the file first and copy the body into it as it comes. When a phone leaves
#   the network during a save, the note is what had arrived by then, and the old text is gone. There
#   is no answer, so the client sends the whole again later, if it still has it.
# Who meets it: servers of files and notes built on them. Other clients sync the half in the
#   meantime.
# What to do: read the body whole, with a limit, before the handler is called, and answer 400 if it
#   breaks off. A temporary file behind OpenFile is not enough: Close comes after a broken copy too.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir files

cat >main.go <<'GO'
package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	emersion "github.com/emersion/go-webdav"
	"golang.org/x/net/webdav"
)

func main() {
	for _, s := range []struct {
		name    string
		handler http.Handler
	}{
		{"x/net/webdav", &webdav.Handler{FileSystem: webdav.Dir("files"), LockSystem: webdav.NewMemLS()}},
		{"go-webdav", &emersion.Handler{FileSystem: emersion.LocalFileSystem("files")}},
	} {
		os.WriteFile("files/note.md", []byte("the old note, written for hours\n"), 0o644)
		done := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			s.handler.ServeHTTP(w, r)
		}))
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			panic(err)
		}
		fmt.Fprint(conn, "PUT /note.md HTTP/1.1\r\nHost: notes\r\nContent-Length: 1000\r\n\r\nthe new no")
		time.Sleep(300 * time.Millisecond)
		conn.Close()
		<-done
		text, _ := os.ReadFile("files/note.md")
		fmt.Printf("%s: %q\n", s.name, text)
		server.Close()
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/net/webdav@v0.61.0 github.com/emersion/go-webdav@v0.6.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: golang.org/x/net/webdav of v0.61.0, emersion/go-webdav v0.6.0'
echo 'expected: the old note, twice'
echo 'seen:'
echo "$seen"
if [[ $seen == 'x/net/webdav: "the new no"
go-webdav: "the new no"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the servers no longer behaves as described above.'
	exit 1
fi
