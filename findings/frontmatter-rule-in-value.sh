#!/usr/bin/env bash
# Software: github.com/adrg/frontmatter v0.2.0 and github.com/yuin/goldmark-meta v1.1.0 (Go);
#   go.abhg.dev/goldmark/frontmatter v0.2.0 for comparison.
# Expected: the block ends at a line that is --- from its first column. An indented --- belongs to a
#   YAML block scalar, such as a summary or a template in a property.
# What happens: the first two trim each line before they compare it. An indented --- ends the block:
#   the property is cut short without an error, and the rest of the block is shown as the note. The
#   third, and the JavaScript libraries gray-matter and front-matter, read the block whole.
# Who meets it: notes with a text of several lines in a property, as Obsidian's and Hugo's users
#   have.
# What to do: find the closing line yourself, without trimming its start, and give YAML the block.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/adrg/frontmatter"
	"github.com/yuin/goldmark"
	meta "github.com/yuin/goldmark-meta"
	"github.com/yuin/goldmark/parser"
	abhg "go.abhg.dev/goldmark/frontmatter"
)

const note = "---\nsummary: |\n  before\n  ---\n  after\n---\nbody\n"

func main() {
	var properties map[string]any
	rest, _ := frontmatter.Parse(strings.NewReader(note), &properties)
	fmt.Printf("adrg/frontmatter %q %q\n", properties["summary"], rest)

	var html bytes.Buffer
	ctx := parser.NewContext()
	goldmark.New(goldmark.WithExtensions(meta.Meta)).Convert([]byte(note), &html, parser.WithContext(ctx))
	fmt.Printf("goldmark-meta %q %q\n", meta.Get(ctx)["summary"], html.String())

	html.Reset()
	ctx = parser.NewContext()
	goldmark.New(goldmark.WithExtensions(&abhg.Extender{})).Convert([]byte(note), &html, parser.WithContext(ctx))
	abhg.Get(ctx).Decode(&properties)
	fmt.Printf("abhg/frontmatter %q %q\n", properties["summary"], html.String())
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/adrg/frontmatter@v0.2.0 github.com/yuin/goldmark@v1.8.7 \
	github.com/yuin/goldmark-meta@v1.1.0 go.abhg.dev/goldmark/frontmatter@v0.2.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: adrg/frontmatter v0.2.0, goldmark-meta v1.1.0, abhg goldmark/frontmatter v0.2.0'
echo 'expected: the summary has three lines and the note is "body", from all three'
echo 'seen:'
echo "$seen"
if [[ $seen == 'adrg/frontmatter "before\n" "  after\n---\nbody\n"
goldmark-meta "before\n" "<h2>after</h2>\n<p>body</p>\n"
abhg/frontmatter "before\n---\nafter\n" "<p>body</p>\n"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the libraries no longer behaves as described above.'
	exit 1
fi
