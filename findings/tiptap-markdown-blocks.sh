#!/usr/bin/env bash
# Software: tiptap-markdown 0.9.0 and @tiptap/markdown 3.35.0 with @tiptap/core 3.35.0 (npm).
# Expected: what the editor writes, it reads back as the same document.
# What happens: a code block whose text has a line of three backticks is written between three
#   backticks by both: it ends at this line, and the rest of the code is text and blocks. In a
#   table tiptap-markdown writes the | of a cell bare: the cell is cut in two, and at the next
#   opening the last cell of the row is gone for good.
# Who meets it: notes about Markdown, prompts and READMEs kept in a note, tables with a || b or
#   with regular expressions. Two openings and saves are enough, no edit is needed.
# What to do: for code, a serializer of one's own with a fence that is longer than the longest in
#   the text; for tables, the same for the cells, or @tiptap/markdown, which escapes them.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts @tiptap/core@3.35.0 @tiptap/pm@3.35.0 \
	@tiptap/starter-kit@3.35.0 @tiptap/extension-table@3.35.0 @tiptap/markdown@3.35.0 \
	tiptap-markdown@0.9.0 jsdom@29.1.1
cat >run.js <<'JS'
import { JSDOM } from 'jsdom'
const { window } = new JSDOM('<body></body>')
for (const name of ['document', 'Node', 'Element', 'HTMLElement', 'DOMParser', 'MutationObserver', 'getComputedStyle']) {
  globalThis[name] = window[name]
}
globalThis.window = window
globalThis.navigator ??= window.navigator
globalThis.requestAnimationFrame = (callback) => setTimeout(callback, 0)
globalThis.innerHeight = 600
const { Editor } = await import('@tiptap/core')
const { default: StarterKit } = await import('@tiptap/starter-kit')
const { TableKit } = await import('@tiptap/extension-table')
const community = (await import('tiptap-markdown')).Markdown
const official = (await import('@tiptap/markdown')).Markdown

function save(markdown, note) {
  const editor = new Editor({
    element: document.createElement('div'), extensions: [StarterKit, TableKit, markdown], content: note,
    ...(markdown === official && { contentType: 'markdown' }),
  })
  return markdown === official ? editor.getMarkdown() : editor.storage.markdown.getMarkdown()
}
for (const [name, markdown] of [['tiptap-markdown', community], ['@tiptap/markdown', official]]) {
  for (const note of ['````\n```\nls\n```\n````', '| or | both |\n| --- | --- |\n| a \\|\\| b | c |']) {
    const once = save(markdown, note)
    console.log(name, JSON.stringify(once), JSON.stringify(save(markdown, once)))
  }
}
process.exit()
JS
seen=$(node run.js)

echo 'software: tiptap-markdown 0.9.0, @tiptap/markdown 3.35.0'
echo 'expected: the code between four backticks, and a cell "a \|\| b" beside a cell "c"'
echo 'seen (after one save and after two):'
echo "$seen"
if [[ $seen == 'tiptap-markdown "```\n```\nls\n```\n```" "```\n```\n\nls\n\n```\n```"
tiptap-markdown "| or | both |\n| --- | --- |\n| a || b | c |\n" "| or | both |\n| --- | --- |\n| a |  |\n"
@tiptap/markdown "```\n```\nls\n```\n```" "```\n\n```\n\nls\n\n```\n\n```"
@tiptap/markdown "\n| or       | both |\n| -------- | ---- |\n| a \\|\\| b | c    |\n" "\n| or       | both |\n| -------- | ---- |\n| a \\|\\| b | c    |\n"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the editors no longer behaves as described above.'
	exit 1
fi
