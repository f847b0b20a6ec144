#!/usr/bin/env bash
# Software: turndown 7.2.5 (npm); html-to-markdown v2.5.2 (Go); @joplin/turndown 4.0.86 for
#   comparison.
# Expected: text that looks like HTML stays text: a page shows <int> and &copy; (written &lt;int&gt;
#   and &amp;copy;), and so does the Markdown that is made of it.
# What happens: turndown writes <int> and &copy; as they are, so the note holds a tag, which is not
#   shown, and a copyright sign. html-to-markdown escapes the tag but not the &copy;. Joplin's fork
#   does the same as html-to-markdown. Each escapes asterisks and brackets with care.
# Who meets it: importers of notes about HTML, XML or C++: vector<int> is shown as "vector".
# What to do: escape < and & in text nodes yourself (turndown.escape can be replaced).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts \
	turndown@7.2.5 @joplin/turndown@4.0.86 micromark@4.0.3
cat >run.mjs <<'JS'
import { createRequire } from 'node:module'
import { micromark } from 'micromark'
const require = createRequire(import.meta.url)
const [page, fromGo] = process.argv.slice(2)
const markdown = (name) => new (require(name))().turndown(page)
const tagsOut = (html) => html.replace(/<[^>]*>/g, '')
for (const [name, text] of [['turndown', markdown('turndown')],
  ['@joplin/turndown', markdown('@joplin/turndown')], ['html-to-markdown', fromGo]]) {
  console.log(name + ':', text, 'is shown as', tagsOut(micromark(text, { allowDangerousHtml: true })))
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
	markdown, _ := htmltomarkdown.ConvertString(os.Args[1])
	fmt.Print(markdown)
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/JohannesKaufmann/html-to-markdown/v2@v2.5.2 >/dev/null 2>&1

page='<p>vector&lt;int&gt; and &amp;copy;</p>'
seen=$(node run.mjs "$page" "$(go run . "$page")")

echo 'software: turndown 7.2.5, @joplin/turndown 4.0.86, html-to-markdown v2.5.2, micromark 4.0.3'
echo 'expected: is shown as vector&lt;int&gt; and &amp;copy; (in HTML)'
echo 'seen:'
echo "$seen"
if [[ $seen == 'turndown: vector<int> and &copy; is shown as vector and ©
@joplin/turndown: vector&lt;int&gt; and &copy; is shown as vector&lt;int&gt; and ©
html-to-markdown: vector&lt;int&gt; and &copy; is shown as vector&lt;int&gt; and ©' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the converters no longer behaves as described above.'
	exit 1
fi
