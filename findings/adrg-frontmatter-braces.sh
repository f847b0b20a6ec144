#!/usr/bin/env bash
# Software: github.com/adrg/frontmatter v0.2.0 (Go).
# Expected: front matter is a block between --- lines (or +++ for TOML). A note that begins with
#   something else has none, and the whole text is the rest.
# What happens: with the default formats, a line that is only { begins a block too, and a line that
#   is only } ends it. A note that opens with a pasted JSON object loses it from the text: it is now
#   its properties. A note that opens with a CSS or Go fragment in such lines is an error.
# Who meets it: an importer of notes, where people paste what a server answered and write below it.
# What to do: pass the formats you mean: frontmatter.Parse(r, &v, frontmatter.NewFormat("---",
#   "---", yaml.Unmarshal)).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"strings"

	"github.com/adrg/frontmatter"
)

func main() {
	for _, note := range []string{
		"{\n\"status\": 503\n}\n\nThis is what the server said.\n",
		"{\n  color: red;\n}\n\nMake the heading so.\n",
	} {
		var properties map[string]any
		rest, err := frontmatter.Parse(strings.NewReader(note), &properties)
		fmt.Printf("%v %q %v\n", properties, rest, err != nil)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/adrg/frontmatter@v0.2.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: adrg/frontmatter v0.2.0'
echo 'expected: no properties, the whole note as the rest, no error'
echo 'seen (properties, rest, error):'
echo "$seen"
if [[ $seen == 'map[status:503] "This is what the server said.\n" false
map[] "" true' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: adrg/frontmatter no longer behaves as described above.'
	exit 1
fi
