#!/usr/bin/env bash
# Software: @tiptap/markdown 3.35.0 with starter-kit 3.35.0; @lexical/markdown 0.52.0 (npm).
# Expected: a paragraph that was typed, "1. FC Town won" or "# 12 is free", is a paragraph when
#   the note is opened again: the writer puts a backslash before what would be Markdown. The
#   reader of both takes the backslash off.
# What happens: neither writer escapes what opens a line. The paragraph comes back as a list, a
#   heading or a rule, and its number or sign is gone from the text. Stars and underscores inside
#   a line are escaped, by both. A note with the backslash in its source loses it at the first
#   save.
# Who meets it: notes apps that store Markdown under a rich-text editor: results of a match, house
#   numbers, "- 5 degrees", lines of dashes.
# What to do: escape the first characters of each text block in the writer of the paragraph; until
#   then compare what is read back with the document before the note is replaced.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts @tiptap/core@3.35.0 @tiptap/pm@3.35.0 \
	@tiptap/starter-kit@3.35.0 @tiptap/markdown@3.35.0 lexical@0.52.0 @lexical/headless@0.52.0 \
	@lexical/markdown@0.52.0 @lexical/rich-text@0.52.0 @lexical/list@0.52.0 @lexical/link@0.52.0 @lexical/code@0.52.0
cat >run.js <<'JS'
import { MarkdownManager } from '@tiptap/markdown'
import StarterKit from '@tiptap/starter-kit'
import { createHeadlessEditor } from '@lexical/headless'
import { $convertFromMarkdownString, $convertToMarkdownString, TRANSFORMERS } from '@lexical/markdown'
import { HeadingNode, QuoteNode } from '@lexical/rich-text'
import { ListItemNode, ListNode } from '@lexical/list'
import { LinkNode } from '@lexical/link'
import { CodeNode } from '@lexical/code'
import { $createParagraphNode, $createTextNode, $getRoot } from 'lexical'

const manager = new MarkdownManager({ extensions: [StarterKit] })
function tiptap(text) {
  const written = manager.serialize({
    type: 'doc', content: [{ type: 'paragraph', content: [{ type: 'text', text }] }],
  })
  return `${written} (${manager.parse(written).content[0].type})`
}
function lexical(text) {
  const nodes = [HeadingNode, QuoteNode, ListNode, ListItemNode, LinkNode, CodeNode]
  const onError = (error) => { throw error }
  const editor = createHeadlessEditor({ nodes, onError }), reader = createHeadlessEditor({ nodes, onError })
  let written, type
  editor.update(() => {
    $getRoot().append($createParagraphNode().append($createTextNode(text)))
  }, { discrete: true })
  editor.read(() => { written = $convertToMarkdownString(TRANSFORMERS) })
  reader.update(() => $convertFromMarkdownString(written, TRANSFORMERS), { discrete: true })
  reader.read(() => { type = $getRoot().getFirstChild().getType() })
  return `${written} (${type})`
}
for (const text of ['1. FC Town won', '# 12 is free', '- 5 degrees', '---', '*x* is open']) {
  console.log(`tiptap: ${tiptap(text)}; lexical: ${lexical(text)}`)
}
JS
seen=$(node run.js)

echo 'software: @tiptap/markdown 3.35.0, @lexical/markdown 0.52.0'
echo 'expected: a backslash in each line and (paragraph) behind it'
echo 'seen (what is written, and what it is when it is read):'
echo "$seen"
if [[ $seen == 'tiptap: 1. FC Town won (orderedList); lexical: 1. FC Town won (list)
tiptap: # 12 is free (heading); lexical: # 12 is free (heading)
tiptap: - 5 degrees (bulletList); lexical: - 5 degrees (list)
tiptap: --- (horizontalRule); lexical: --- (paragraph)
tiptap: \*x\* is open (paragraph); lexical: \*x\* is open (paragraph)' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: TipTap or Lexical no longer behaves as described above.'
	exit 1
fi
