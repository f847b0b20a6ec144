#!/usr/bin/env bash
# Software: Kunde21/markdownfmt v3.1.0 with goldmark v1.3.5, which it names, and v1.8.7 (Go).
# Expected: a formatted note means the same as before, with each goldmark of version 1.
# What happens: with v1.3.5 the command is right about hard breaks and links. In a program that
#   uses a newer goldmark itself Go takes the newer for both: then the two blanks or the backslash
#   at the end of a line are dropped, so that an address or a poem becomes one line, and a note
#   with link definitions is refused. With either, `` a`b `` is written as `a`b`.
# Who meets it: servers in Go that render with goldmark and write Markdown back. The tests of
#   markdownfmt are green, since they run with the old one.
# What to do: none of the two in one module; change notes as text, by the positions of goldmark's
#   nodes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"

	"github.com/Kunde21/markdownfmt/v3"
	"github.com/yuin/goldmark"
)

func main() {
	_ = goldmark.New()
	for _, note := range []string{"Old Road 7  \nTown\n", "Old Road 7\\\nTown\n", "[b]\n\n[b]: https://x.example\n", "`` a`b ``\n"} {
		formatted, err := markdownfmt.Process("", []byte(note))
		fmt.Printf("%q -> %q, refused: %v\n", note, formatted, err != nil)
	}
}
GO
go mod init finding >/dev/null 2>&1
seen=''
for version in v1.3.5 v1.8.7; do
	go get github.com/Kunde21/markdownfmt/v3@v3.1.0 "github.com/yuin/goldmark@$version" >/dev/null 2>&1
	seen+="goldmark $version"$'\n'$(go run .)$'\n'
done

echo 'software: markdownfmt v3.1.0, goldmark v1.3.5 and v1.8.7'
echo 'expected: a break after "Old Road 7", a link b, and code a`b, with both'
echo 'seen:'
echo "$seen"
if [[ $seen == 'goldmark v1.3.5
"Old Road 7  \nTown\n" -> "Old Road 7  \nTown\n", refused: false
"Old Road 7\\\nTown\n" -> "Old Road 7  \nTown\n", refused: false
"[b]\n\n[b]: https://x.example\n" -> "[b](https://x.example)\n", refused: false
"`` a`b ``\n" -> "`a`b`\n", refused: false
goldmark v1.8.7
"Old Road 7  \nTown\n" -> "Old Road 7\nTown\n", refused: false
"Old Road 7\\\nTown\n" -> "Old Road 7\nTown\n", refused: false
"[b]\n\n[b]: https://x.example\n" -> "", refused: true
"`` a`b ``\n" -> "`a`b`\n", refused: false'$'\n' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: markdownfmt or goldmark no longer behaves as described above.'
	exit 1
fi
