#!/usr/bin/env bash
# Software: @joplin/turndown 4.0.86 (npm), Joplin's fork of turndown; turndown 7.2.5 for comparison.
# Expected: a code block inside a list item comes out with the code unchanged.
# What happens: the fork writes "- " for an item where turndown writes "-   ", but still indents the
#   lines below by four. In a fenced block the two columns too many belong to the code: each line
#   gains two blanks. In Python and YAML that is another program.
# Who meets it: Joplin's import of ENEX and HTML and its paste, and whoever uses the package for an
#   importer of his own. The text looks right until it is copied out of the note.
# What to do: after the conversion, indent the lines of an item by the width of its marker.
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
const html = '<ul><li><pre><code>a:\n  b: 1</code></pre></li></ul>'
for (const name of ['turndown', '@joplin/turndown']) {
  const Turndown = require(name)
  const options = { bulletListMarker: '-', codeBlockStyle: 'fenced' }
  const markdown = new Turndown(options).turndown(html)
  const code = micromark(markdown).match(/<code>(.*)<\/code>/s)[1]
  console.log(name + ':', JSON.stringify(markdown), 'is the code', JSON.stringify(code))
}
JS
seen=$(node run.mjs)

echo 'software: @joplin/turndown 4.0.86, turndown 7.2.5, micromark 4.0.3'
echo 'expected: is the code "a:\n  b: 1\n" in both lines'
echo 'seen:'
echo "$seen"
if [[ $seen == 'turndown: "-   ```\n    a:\n      b: 1\n    ```" is the code "a:\n  b: 1\n"
@joplin/turndown: "- ```\n    a:\n      b: 1\n    ```" is the code "  a:\n    b: 1\n"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: @joplin/turndown no longer behaves as described above.'
	exit 1
fi
