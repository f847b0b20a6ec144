#!/usr/bin/env bash
# Software: prosemirror-markdown 1.13.9 (npm).
# Expected: Markdown that is read and written without an edit keeps its lines; a bullet may look
#   different, but an address is still an address.
# What happens: the lines of a paragraph become one line. And a footnote whose text is one word or
#   an address becomes a link: the default reader knows no footnotes, takes `[^1]: https://…` for a
#   link definition, and the writer puts it inline. The definition at the end of the note is gone.
# Who meets it: notes edited in an editor built on it. Notes keep one thing a line; to another
#   client each save looks like a rewrite of the paragraph, and merges clash.
# What to do: give the reader `softbreak` as a node of your schema, and markdown-it-footnote;
#   compare the text read and written before the editor is allowed to save.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts prosemirror-markdown@1.13.9
cat >run.js <<'JS'
const { defaultMarkdownParser: reader, defaultMarkdownSerializer: writer } = require('prosemirror-markdown')
for (const text of ['call Ada\nmail Bob\n', 'a claim[^1]\n\n[^1]: https://x.example\n']) {
  console.log(JSON.stringify(text), '->', JSON.stringify(writer.serialize(reader.parse(text))))
}
JS
seen=$(node run.js)

echo 'software: prosemirror-markdown 1.13.9'
echo 'expected: two lines, and a footnote with its text'
echo 'seen:'
echo "$seen"
if [[ $seen == '"call Ada\nmail Bob\n" -> "call Ada mail Bob"
"a claim[^1]\n\n[^1]: https://x.example\n" -> "a claim[^1](https://x.example)"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: prosemirror-markdown no longer behaves as described above.'
	exit 1
fi
