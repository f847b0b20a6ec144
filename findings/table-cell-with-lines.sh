#!/usr/bin/env bash
# Software: html-to-markdown v2.5.2 with its table plugin (Go); turndown 7.2.5 with
#   turndown-plugin-gfm 1.0.2 (npm); Joplin's @joplin/turndown-plugin-gfm 1.0.68 for comparison.
# Expected: a table with two lines in one cell becomes a table, or stays HTML.
# What happens: the Go plugin gives the whole table up for one <br> or a second <p>, and what is
#   left is the text of all cells run together: "eggs", "12" become "eggs12". The turndown plugin
#   writes the paragraphs' blank lines into the row, so that the table ends there. Joplin's writes
#   <br>.
# Who meets it: importers of HTML; many rich-text editors put a <p> or <div> into each cell.
# What to do: Go: table.WithNewlineBehavior(table.NewlineBehaviorPreserve). turndown: a rule for td
#   that joins its blocks with <br>, or Joplin's plugin.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts turndown@7.2.5 turndown-plugin-gfm@1.0.2 \
	@joplin/turndown@4.0.86 @joplin/turndown-plugin-gfm@1.0.68
cat >run.js <<'JS'
for (const scope of ['', '@joplin/']) {
  const converter = new (require(scope + 'turndown'))()
  converter.use(require(scope + 'turndown-plugin-gfm').gfm)
  console.log(scope + 'turndown:', JSON.stringify(converter.turndown(process.argv[2])))
}
JS
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/JohannesKaufmann/html-to-markdown/v2/converter"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/base"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/commonmark"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/table"
)

func main() {
	c := converter.NewConverter(converter.WithPlugins(
		base.NewBasePlugin(), commonmark.NewCommonmarkPlugin(), table.NewTablePlugin()))
	markdown, err := c.ConvertString(os.Args[1])
	fmt.Printf("html-to-markdown: %q %v\n", markdown, err)
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/JohannesKaufmann/html-to-markdown/v2@v2.5.2 >/dev/null 2>&1

breaks='<table><tr><th>item</th><th>note</th></tr><tr><td>eggs</td><td>12<br>large</td></tr></table>'
blocks='<table><tr><th>item</th></tr><tr><td><p>eggs</p><p>milk</p></td></tr></table>'
seen=$(go run . "$breaks"; node run.js "$blocks")

echo 'software: html-to-markdown v2.5.2, turndown-plugin-gfm 1.0.2, @joplin/turndown-plugin-gfm 1.0.68'
echo 'expected: rows between pipes'
echo 'seen:'
echo "$seen"
if [[ $seen == 'html-to-markdown: "itemnote\n\neggs12  \nlarge" <nil>
turndown: "| item |\n| --- |\n| \neggs\n\nmilk\n\n |"
@joplin/turndown: "| item |\n| --- |\n| eggs<br><br>milk |"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the converters no longer behaves as described above.'
	exit 1
fi
