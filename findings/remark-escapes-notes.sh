#!/usr/bin/env bash
# Software: remark 15.0.1 with remark-gfm 4.0.1 (npm).
# Expected: text that is plain text to remark is written back as it was.
# What happens: remark escapes what could be Markdown to somebody. A note's own marks are among it:
#   a callout (> [!note]), a wiki link, a highlight or a tag at the start of a line, a reference to
#   a footnote of another file. The page looks the same; in Obsidian, Joplin or GitHub the note lost
#   its callout, links and first tag. A tag in the middle of a line stays, so a short test passes.
# Who meets it: scripts that change one thing in a folder of notes (links, front matter) with
#   remark.
# What to do: parse for positions only, and change the source text at these positions.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts remark@15.0.1 remark-gfm@4.0.1
cat >run.mjs <<'JS'
import { remark } from 'remark'
import remarkGfm from 'remark-gfm'
for (const text of ['> [!note] Plans\n', '[[Other note]]\n', '==important==\n', '#work and #home\n']) {
  console.log(JSON.stringify(text), '->', JSON.stringify(String(remark().use(remarkGfm).processSync(text))))
}
JS
seen=$(node run.mjs)

echo 'software: remark 15.0.1, remark-gfm 4.0.1'
echo 'expected: the same text on both sides'
echo 'seen:'
echo "$seen"
if [[ $seen == '"> [!note] Plans\n" -> "> \\[!note] Plans\n"
"[[Other note]]\n" -> "\\[\\[Other note]]\n"
"==important==\n" -> "\\==important==\n"
"#work and #home\n" -> "\\#work and #home\n"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: remark no longer behaves as described above.'
	exit 1
fi
