#!/usr/bin/env bash
# Software: turndown 7.2.5 and Joplin's fork @joplin/turndown 4.0.86 (npm); html-to-markdown v2.5.2
#   (Go) for comparison.
# Expected: a list inside a list becomes an indented list.
# What happens: where the inner list is a child of the outer list itself, not of an item, its level
#   is lost: <ul><li>a</li><ul><li>b</li></ul></ul> becomes three items of one level. Browsers show
#   it indented. The Go library keeps the level.
# Who meets it: importers of ENEX and of pasted HTML. Such lists are not strictly valid, but
#   Chromium's own command for indenting an item (execCommand "indent", run in 156) writes them.
# What to do: move each list that is a child of a list into the item before it, then convert.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts turndown@7.2.5 @joplin/turndown@4.0.86
cat >run.js <<'JS'
const options = { bulletListMarker: '-' }
for (const name of ['turndown', '@joplin/turndown']) {
  const Turndown = require(name)
  for (const html of process.argv.slice(2)) {
    console.log(name + ':', JSON.stringify(new Turndown(options).turndown(html).replace(/- +/g, '- ')))
  }
}
JS
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	htmltomarkdown "github.com/JohannesKaufmann/html-to-markdown/v2"
)

func main() {
	markdown, err := htmltomarkdown.ConvertString(os.Args[1])
	fmt.Printf("html-to-markdown: %q %v\n", markdown, err)
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/JohannesKaufmann/html-to-markdown/v2@v2.5.2 >/dev/null 2>&1

in_item='<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>'
in_list='<ul><li>a</li><ul><li>b</li></ul><li>c</li></ul>'
seen=$(node run.js "$in_item" "$in_list"; go run . "$in_list")

echo 'software: turndown 7.2.5, @joplin/turndown 4.0.86, html-to-markdown v2.5.2'
echo 'expected: b is indented in each line'
echo 'seen (the inner list in the item, then in the list):'
echo "$seen"
if [[ $seen == 'turndown: "- a\n    - b\n- c"
turndown: "- a\n\n- b\n\n- c"
@joplin/turndown: "- a\n    - b\n- c"
@joplin/turndown: "- a\n\n- b\n\n- c"
html-to-markdown: "- a\n  \n  - b\n- c" <nil>' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the converters no longer behaves as described above.'
	exit 1
fi
