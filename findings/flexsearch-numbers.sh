#!/usr/bin/env bash
# Software: flexsearch 0.8.212 (npm), default options (whole words, the default encoder).
# Expected: a search for a number finds the notes that hold this number.
# What happens: the encoder, made for misspelt words, reduces repeated letters to one, digits too,
#   and cuts numbers into groups of three. A search for 11 finds 1, 11, 111 and 4711; a search for
#   100 finds 10 and 1000; 4711 is found by 471. The ranking does not tell them apart.
# Who meets it: search in an app over notes with amounts, invoices, room numbers, years.
# What to do: new Index({ encoder: Charset.Exact }), or an Encoder with dedupe: false, numeric:
#   false.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts flexsearch@0.8.212
cat >run.js <<'JS'
const { Index, Charset } = require('flexsearch')
const numbers = ['1', '11', '111', '10', '100', '1000', '471', '4711']
for (const [name, options] of [['default', {}], ['exact', { encoder: Charset.Exact }]]) {
  const index = new Index(options)
  for (const [id, number] of numbers.entries()) index.add(id, 'invoice ' + number)
  for (const query of ['11', '100', '471']) {
    console.log(name, query, '->', index.search(query).map((id) => numbers[id]).sort().join(' '))
  }
}
JS
seen=$(node run.js)

echo 'software: flexsearch 0.8.212'
echo 'expected: 11 -> 11, 100 -> 100, 471 -> 471'
echo 'seen:'
echo "$seen"
if [[ $seen == 'default 11 -> 1 11 111 4711
default 100 -> 10 100 1000
default 471 -> 471 4711
exact 11 -> 11
exact 100 -> 100
exact 471 -> 471' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: flexsearch no longer behaves as described above.'
	exit 1
fi
