#!/usr/bin/env bash
# Software: github.com/yuin/goldmark v1.8.7 (Go); micromark 4.0.3 with GFM 3.0.0 and github-slugger
#   2.0.0 (npm) for comparison.
# Expected: a bare address is a link to its end, and a heading gets the anchor that GitHub gives it,
#   so that [see](#über-uns) leads there.
# What happens: goldmark's Linkify ends an address at the first letter beyond ASCII: people paste
#   https://de.wikipedia.org/wiki/Straße, and the link leads to /Stra. WithAutoHeadingID drops such
#   letters: "Über uns" is #ber-uns, and each heading in Cyrillic or Devanagari is #heading.
# Who meets it: notes in any language but English, where links inside a note were made by another
#   app.
# What to do: pass extension.NewLinkify(extension.WithLinkifyURLRegexp(…)) and an IDs generator of
#   your own (parser.WithIDs).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts \
	micromark@4.0.3 micromark-extension-gfm@3.0.0 github-slugger@2.0.0
cat >run.mjs <<'JS'
import { micromark } from 'micromark'
import { gfm, gfmHtml } from 'micromark-extension-gfm'
import { slug } from 'github-slugger'
const [address, ...headings] = process.argv.slice(2)
const html = micromark(address, { extensions: [gfm()], htmlExtensions: [gfmHtml()] })
console.log('micromark:', html.match(/>(http[^<]*)</)[1])
console.log('github-slugger:', headings.map((h) => slug(h)).join(' '))
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
	"github.com/yuin/goldmark/parser"
)

func main() {
	md := goldmark.New(goldmark.WithExtensions(extension.GFM),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	render := func(text, find string) string {
		var html bytes.Buffer
		md.Convert([]byte(text), &html)
		return regexp.MustCompile(find).FindStringSubmatch(html.String())[1]
	}
	fmt.Println("goldmark:", render(os.Args[1], `>(http[^<]*)<`))
	fmt.Print("goldmark:")
	for _, heading := range os.Args[2:] {
		fmt.Print(" ", render("# "+heading, `id="([^"]*)"`))
	}
	fmt.Println()
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/yuin/goldmark@v1.8.7 >/dev/null 2>&1

text=('https://de.wikipedia.org/wiki/Straße' 'Über uns' 'Ёлка' 'दिन')
seen=$(go run . "${text[@]}"; node run.mjs "${text[@]}")

echo 'software: goldmark v1.8.7, micromark 4.0.3, github-slugger 2.0.0'
echo 'expected: the same address and the same anchors from both'
echo 'seen:'
echo "$seen"
if [[ $seen == 'goldmark: https://de.wikipedia.org/wiki/Stra
goldmark: ber-uns heading heading
micromark: https://de.wikipedia.org/wiki/Straße
github-slugger: über-uns ёлка दिन' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: goldmark no longer behaves as described above.'
	exit 1
fi
