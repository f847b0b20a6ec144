#!/usr/bin/env bash
# Software: gray-matter 4.0.3 (npm); go.abhg.dev/goldmark/frontmatter v0.2.0 with goldmark v1.8.7
#   (Go); front-matter 4.0.2 (npm) for comparison.
# Expected: a note that opens with a Markdown rule (---) and has no second one has no front matter:
#   the whole text is the note. The third reads it so.
# What happens: the first two take everything to the end of the file for the block. gray-matter
#   gives empty content and the text as `data`, a string, or an object if there is a colon in the
#   text. goldmark's extension renders an empty page. None of them reports an error.
# Who meets it: importers, static sites, servers that render notes. The note looks lost.
# What to do: look for the closing line before calling them; take `data` that is no plain object for
#   "no front matter" and keep the original text.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts gray-matter@4.0.3 front-matter@4.0.2
cat >run.js <<'JS'
const matter = require('gray-matter')
const frontMatter = require('front-matter')
const [note] = process.argv.slice(2)
console.log('front-matter:', JSON.stringify(frontMatter(note).body))
const { data, content } = matter(note)
console.log('gray-matter:', JSON.stringify(content), JSON.stringify(data))
JS

cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/yuin/goldmark"
	"go.abhg.dev/goldmark/frontmatter"
)

func main() {
	var html bytes.Buffer
	md := goldmark.New(goldmark.WithExtensions(&frontmatter.Extender{}))
	err := md.Convert([]byte(os.Args[1]), &html)
	fmt.Printf("goldmark: %q %v\n", html.String(), err)
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/yuin/goldmark@v1.8.7 go.abhg.dev/goldmark/frontmatter@v0.2.0 >/dev/null 2>&1

note=$'---\nThe meeting moved to Friday.\n\nBring the plans.\n'
seen=$(node run.js "$note"; go run . "$note"; node run.js $'---\nMoved to: Friday\n' | tail -1)

echo 'software: gray-matter 4.0.3, abhg goldmark/frontmatter v0.2.0, front-matter 4.0.2'
echo 'expected: the text of the note in each line'
echo 'seen:'
echo "$seen"
if [[ $seen == 'front-matter: "---\nThe meeting moved to Friday.\n\nBring the plans.\n"
gray-matter: "" "The meeting moved to Friday.\nBring the plans."
goldmark: "" <nil>
gray-matter: "" {"Moved to":"Friday"}' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the libraries no longer behaves as described above.'
	exit 1
fi
