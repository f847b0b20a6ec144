#!/usr/bin/env bash
# Software: github.com/studio-b12/gowebdav v0.13.0 (Go).
# Expected: Stat("/inbox/note.md").Name() is "note.md", as with os.Stat.
# What happens: Name is the DAV property displayname. Without it (a server need not have one) the
#   name is empty, and where the server puts a title there, Name is the title. ReadDir of the same
#   folder gives "note.md", from the address: the two disagree about one file.
# Who meets it: backup and sync programs in Go against servers such as emersion/go-webdav, which
#   sends none, or against one that shows titles.
# What to do: take path.Base of the path you asked for. As a server, send displayname equal to the
#   last part of the address, or not at all.
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

	"github.com/studio-b12/gowebdav"
)

func main() {
	for _, name := range []string{"note.md", "", "My plans"} {
		prop := ""
		if name != "" {
			prop = "<displayname>" + name + "</displayname>"
		}
		entry := func(href, prop string) string {
			return "<response><href>" + href + "</href><propstat><prop>" + prop +
				"</prop><status>HTTP/1.1 200 OK</status></propstat></response>"
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusMultiStatus)
			fmt.Fprint(w, `<?xml version="1.0"?><multistatus xmlns="DAV:">`)
			if r.Header.Get("Depth") == "1" {
				fmt.Fprint(w, entry("/inbox/", "<resourcetype><collection/></resourcetype>"))
			}
			fmt.Fprint(w, entry("/inbox/note.md", prop+"<getcontentlength>1</getcontentlength>"), "</multistatus>")
		}))
		client := gowebdav.NewClient(server.URL, "", "")
		file, err := client.Stat("/inbox/note.md")
		files, err2 := client.ReadDir("/inbox")
		if err != nil || err2 != nil || len(files) != 1 {
			panic(fmt.Sprint(err, err2, files))
		}
		fmt.Printf("displayname %q: Stat %q, ReadDir %q\n", name, file.Name(), files[0].Name())
		server.Close()
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/studio-b12/gowebdav@v0.13.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: studio-b12/gowebdav v0.13.0'
echo 'expected: "note.md" everywhere'
echo 'seen:'
echo "$seen"
if [[ $seen == 'displayname "note.md": Stat "note.md", ReadDir "note.md"
displayname "": Stat "", ReadDir "note.md"
displayname "My plans": Stat "My plans", ReadDir "note.md"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: gowebdav no longer behaves as described above.'
	exit 1
fi
