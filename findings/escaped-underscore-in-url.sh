#!/usr/bin/env bash
# Software: turndown 7.2.5 (npm) read by micromark 4.0.3 with GFM 3.0.0; html-to-markdown v2.5.2
#   read by goldmark v1.8.7 with GFM (Go); @joplin/turndown 4.0.86 for comparison.
# Expected: a bare address in the text of a page is a link to the same address in the note.
# What happens: both converters escape the underscores (https://x.example/a\_b). GFM makes links of
#   bare addresses before it looks at escapes: micromark links to a%5C_b, goldmark stops before the
#   backslash and links to a. Neither page exists. Joplin's fork does not escape inside words.
# Who meets it: importers of ENEX, HTML and bookmarks: an address typed into a note is text there.
# What to do: find bare addresses in text before converting and make links (<a href>) of them.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts turndown@7.2.5 @joplin/turndown@4.0.86 \
	micromark@4.0.3 micromark-extension-gfm@3.0.0
cat >run.mjs <<'JS'
import { createRequire } from 'node:module'
import { micromark } from 'micromark'
import { gfm, gfmHtml } from 'micromark-extension-gfm'
const require = createRequire(import.meta.url)
for (const name of ['turndown', '@joplin/turndown']) {
  const Turndown = require(name)
  const markdown = new Turndown().turndown(process.argv[2])
  const html = micromark(markdown, { extensions: [gfm()], htmlExtensions: [gfmHtml()] })
  console.log(name + ':', markdown, html.match(/href="([^"]*)"/)[1])
}
JS
cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"

	htmltomarkdown "github.com/JohannesKaufmann/html-to-markdown/v2"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
)

func main() {
	markdown, _ := htmltomarkdown.ConvertString(os.Args[1])
	var html bytes.Buffer
	goldmark.New(goldmark.WithExtensions(extension.GFM)).Convert([]byte(markdown), &html)
	link := regexp.MustCompile(`href="([^"]*)"`).FindStringSubmatch(html.String())[1]
	fmt.Println("html-to-markdown:", markdown, link)
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/JohannesKaufmann/html-to-markdown/v2@v2.5.2 github.com/yuin/goldmark@v1.8.7 >/dev/null 2>&1

page='<p>https://x.example/a_b_c</p>'
seen=$(node run.mjs "$page"; go run . "$page")

echo 'software: turndown 7.2.5, micromark 4.0.3, html-to-markdown v2.5.2, goldmark v1.8.7'
echo 'expected: each line ends with the address https://x.example/a_b_c'
echo 'seen (the Markdown, then where its link leads):'
echo "$seen"
if [[ $seen == 'turndown: https://x.example/a\_b\_c https://x.example/a%5C_b%5C_c
@joplin/turndown: https://x.example/a_b_c https://x.example/a_b_c
html-to-markdown: https://x.example/a\_b\_c https://x.example/a' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the link no longer breaks as described above.'
	exit 1
fi
