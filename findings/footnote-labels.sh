#!/usr/bin/env bash
# Software: micromark 4.0.3 with GFM 3.0.0, markdown-it 15.0.3 with markdown-it-footnote 4.0.0
#   (npm), goldmark v1.8.7 with its Footnote extension (Go).
# Expected: the three show the same footnote under the same mark.
# What happens: a label that is defined twice (two notes joined, both with [^1]) shows the first
#   text in micromark and goldmark, the last one in markdown-it-footnote. A mark [^A] with a
#   definition [^a] is a footnote in micromark, as for link labels, and plain text in the other two.
# Who meets it: who joins, imports or appends notes: the page shows another text than the app did.
# What to do: give labels new numbers when notes are joined; write marks and definitions alike.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts micromark@4.0.3 \
	micromark-extension-gfm@3.0.0 markdown-it@15.0.3 markdown-it-footnote@4.0.0
cat >run.mjs <<'JS'
import { micromark } from 'micromark'
import { gfm, gfmHtml } from 'micromark-extension-gfm'
import MarkdownIt from 'markdown-it'
import footnote from 'markdown-it-footnote'
const readers = {
  micromark: (text) => micromark(text, { extensions: [gfm()], htmlExtensions: [gfmHtml()] }),
  'markdown-it': (text) => new MarkdownIt().use(footnote).render(text),
}
const shown = (html) => (html.match(/<li.*?<p>(\w+)/s) ?? [, 'none'])[1]
for (const [name, render] of Object.entries(readers)) {
  console.log(name + ':', process.argv.slice(2).map((text) => shown(render(text))).join(', '))
}
JS
cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
)

func main() {
	var seen [2]string
	for i, text := range os.Args[1:] {
		var html bytes.Buffer
		goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote)).Convert([]byte(text), &html)
		seen[i] = "none"
		if m := regexp.MustCompile(`(?s)<li.*?<p>(\w+)`).FindStringSubmatch(html.String()); m != nil {
			seen[i] = m[1]
		}
	}
	fmt.Printf("goldmark: %s, %s\n", seen[0], seen[1])
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/yuin/goldmark@v1.8.7 >/dev/null 2>&1

twice=$'a[^1]\n\n[^1]: first\n\n[^1]: second\n'
cases=$'a[^A]\n\n[^a]: small\n'
seen=$(node run.mjs "$twice" "$cases"; go run . "$twice" "$cases")

echo 'software: micromark 4.0.3, markdown-it-footnote 4.0.0, goldmark v1.8.7'
echo 'expected: three equal lines'
echo 'seen (the text of the footnote, for a label defined twice, for a label in another case):'
echo "$seen"
if [[ $seen == 'micromark: first, small
markdown-it: second, none
goldmark: first, none' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the three readers no longer disagree as described above.'
	exit 1
fi
