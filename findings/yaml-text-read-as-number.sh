#!/usr/bin/env bash
# Software: yaml 2.9.1 writes; gray-matter 4.0.3 (with js-yaml 3) reads (both npm).
# Expected: text that one YAML library writes as a string is a string to the other. The writer
#   quotes what would not be one, such as "1e3" and "0123".
# What happens: the writer quotes by YAML 1.2, the reader types by YAML 1.1. The texts 12:30, 1_000
#   and 2024-01-15 stand bare, and come back as 750, 1000 and a Date. Saved again by gray-matter,
#   the note holds 750. The other way round gray-matter writes the text 08 bare, which yaml reads as
#   8.
# Who meets it: tags and times of notes that go through two tools: remark reads and writes with yaml
#   (vfile-matter), many static site generators with gray-matter.
# What to do: write quotes around each text that either version would type. Read times and tags from
#   the source text of the value, not from its type.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts yaml@2.9.1 gray-matter@4.0.3

cat >run.js <<'JS'
const yaml = require('yaml')
const matter = require('gray-matter')
for (const text of ['12:30', '1_000', '2024-01-15', '0123', '1e3']) {
  const note = '---\n' + yaml.stringify({ start: text }) + '---\nbody\n'
  const { data, content } = matter(note, {})
  const again = matter.stringify(content, data).split('\n')[1]
  console.log(note.split('\n')[1], '->', JSON.stringify(data.start), '->', again)
}
const written = matter.stringify('body\n', { start: '08' })
console.log(written.split('\n')[1], '->', JSON.stringify(yaml.parse(written.split('---')[1]).start))
JS
seen=$(node run.js)

echo 'software: yaml 2.9.1, gray-matter 4.0.3'
echo 'expected: each text is read as the same text'
echo 'seen (written by yaml, read by gray-matter, written by gray-matter; last line the other way):'
echo "$seen"
if [[ $seen == 'start: 12:30 -> 750 -> start: 750
start: 1_000 -> 1000 -> start: 1000
start: 2024-01-15 -> "2024-01-15T00:00:00.000Z" -> start: 2024-01-15T00:00:00.000Z
start: "0123" -> "0123" -> start: '\''0123'\''
start: "1e3" -> "1e3" -> start: '\''1e3'\''
start: 08 -> 8' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the two libraries no longer disagree as described above.'
	exit 1
fi
