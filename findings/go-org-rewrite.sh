#!/usr/bin/env bash
# Software: github.com/niklasfasching/go-org v1.9.1 (Go), its Org writer.
# Expected: an Org file that is read and written without an edit has the same structure.
# What happens: two things become others. The keyword COMMENT, which keeps a subtree out of an
#   export, is dropped: the subtree is published the next time. And a list whose bullet is an
#   indented star loses its indentation: a star in the first column is a heading.
# Who meets it: tools that change one property or tag in Org files, and importers that store what
#   the writer gave.
# What to do: change the source text at the place the reader gives; write `-` for such lists before.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"strings"

	"github.com/niklasfasching/go-org/org"
)

func main() {
	for _, text := range []string{"* COMMENT private\ntext\n", "Shopping:\n  * milk\n  * bread\n"} {
		document := org.New().Parse(strings.NewReader(text), "note.org")
		written, err := document.Write(org.NewOrgWriter())
		again := org.New().Parse(strings.NewReader(written), "note.org")
		fmt.Printf("%q -> %q, %d then %d headings, %v\n", text, written,
			len(document.Outline.Children), len(again.Outline.Children), err)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/niklasfasching/go-org/org@v1.9.1 >/dev/null 2>&1
seen=$(go run .)

echo 'software: niklasfasching/go-org v1.9.1'
echo 'expected: the same text, or at least as many headings as before, and COMMENT'
echo 'seen:'
echo "$seen"
if [[ $seen == '"* COMMENT private\ntext\n" -> "* private\ntext\n", 1 then 1 headings, <nil>
"Shopping:\n  * milk\n  * bread\n" -> "Shopping:\n* milk\n* bread\n", 0 then 2 headings, <nil>' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: go-org no longer behaves as described above.'
	exit 1
fi
