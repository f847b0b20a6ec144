#!/usr/bin/env bash
# Software: github.com/yuin/goldmark v1.8.7 with its GFM extension (Go); micromark 4.0.3 with GFM
#   3.0.0, markdown-it 15.0.3 with markdown-it-task-lists 2.1.1, marked 18.2.1 (npm) for comparison.
# Expected: GFM's rule: a task's box is followed by white space and a text. `- [x](https://…)` is a
#   link whose text is x, and `- [ ]` alone is an item with the text [ ].
# What happens: goldmark asks for neither. The link is a ticked box with the address as text behind
#   it, [x]bread is a task too, and an empty box is a box. The other three follow the rule.
# Who meets it: a server that renders or counts tasks with goldmark beside an app with a JavaScript
#   reader: the list shows another number of open tasks than the note.
# What to do: decide in one place what a task is, from the source text, and show that in both.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts micromark@4.0.3 \
	micromark-extension-gfm@3.0.0 markdown-it@15.0.3 markdown-it-task-lists@2.1.1 marked@18.2.1
cat >run.mjs <<'JS'
import { createRequire } from 'node:module'
import { micromark } from 'micromark'
import { gfm, gfmHtml } from 'micromark-extension-gfm'
import { marked } from 'marked'
import MarkdownIt from 'markdown-it'
const require = createRequire(import.meta.url)
const markdownIt = new MarkdownIt().use(require('markdown-it-task-lists'))
const readers = {
  micromark: (text) => micromark(text, { extensions: [gfm()], htmlExtensions: [gfmHtml()] }),
  'markdown-it': (text) => markdownIt.render(text),
  marked: (text) => marked.parse(text),
}
for (const [name, render] of Object.entries(readers)) {
  const what = (text) => (/<input/.test(render(text)) ? 'task' : 'no task')
  console.log(name + ':', process.argv.slice(2).map(what).join(', '))
}
JS
cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
)

func main() {
	var seen []string
	for _, text := range os.Args[1:] {
		var html bytes.Buffer
		goldmark.New(goldmark.WithExtensions(extension.GFM)).Convert([]byte(text), &html)
		what := "no task"
		if strings.Contains(html.String(), "<input") {
			what = "task"
		}
		seen = append(seen, what)
	}
	fmt.Println("goldmark:", strings.Join(seen, ", "))
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/yuin/goldmark@v1.8.7 >/dev/null 2>&1

items=('- [x] bread' '- [x](https://x.example)' '- [x]bread' '- [ ]')
seen=$(go run . "${items[@]}"; node run.mjs "${items[@]}")

echo 'software: goldmark v1.8.7, micromark 4.0.3, markdown-it 15.0.3, marked 18.2.1'
echo 'expected: task, no task, no task, no task'
printf 'items:   '; printf ' «%s»' "${items[@]}"; echo
echo 'seen:'
echo "$seen"
if [[ $seen == 'goldmark: task, task, task, task
micromark: task, no task, no task, no task
markdown-it: task, no task, no task, no task
marked: task, no task, no task, no task' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the readers no longer behaves as described above.'
	exit 1
fi
