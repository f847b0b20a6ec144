#!/usr/bin/env bash
# Software: @lexical/markdown 0.52.0 with its TRANSFORMERS (npm).
# Expected: a note that is read and written without an edit means the same.
# What happens: the blank line of a quote, ">", is written as "> >": the second paragraph of each
#   quote or callout moves into a quote of its own, one level deeper. Code that belongs to a list
#   item leaves the list, so that a numbered list is cut in two. In a table, which the editor
#   takes for text, the backslash before a | is dropped: the row has a cell more and the last is
#   not shown.
# Who meets it: notes apps on Lexical that open Markdown written elsewhere.
# What to do: let the editor write only the blocks that were edited, or compare before saving.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts lexical@0.52.0 @lexical/headless@0.52.0 \
	@lexical/markdown@0.52.0 @lexical/rich-text@0.52.0 @lexical/list@0.52.0 @lexical/link@0.52.0 @lexical/code@0.52.0
cat >run.js <<'JS'
import { createHeadlessEditor } from '@lexical/headless'
import { $convertFromMarkdownString, $convertToMarkdownString, TRANSFORMERS } from '@lexical/markdown'
import { HeadingNode, QuoteNode } from '@lexical/rich-text'
import { ListItemNode, ListNode } from '@lexical/list'
import { LinkNode } from '@lexical/link'
import { CodeNode } from '@lexical/code'

for (const note of [
  '> [!note] Rent\n>\n> Pay by Friday.',
  '1. Stop it:\n\n   ```\n   stop\n   ```\n\n2. Start it.',
  '| key | does |\n| --- | --- |\n| a \\| b | both |',
]) {
  const editor = createHeadlessEditor({
    nodes: [HeadingNode, QuoteNode, ListNode, ListItemNode, LinkNode, CodeNode],
    onError: (error) => { throw error },
  })
  editor.update(() => $convertFromMarkdownString(note, TRANSFORMERS), { discrete: true })
  editor.read(() => console.log($convertToMarkdownString(TRANSFORMERS) + '\n'))
}
JS
seen=$(node run.js)

echo 'software: @lexical/markdown 0.52.0'
echo 'expected: > [!note] Rent / > / > Pay by Friday.; code inside item 1; a \| b in one cell'
echo 'seen:'
echo "$seen"
if [[ $seen == '> [!note] Rent
> >
> Pay by Friday.

1. Stop it:

```
stop
```

2. Start it.

| key | does |
| --- | --- |
| a | b | both |' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: Lexical no longer behaves as described above.'
	exit 1
fi
