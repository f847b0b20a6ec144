#!/usr/bin/env bash
# Software: lunr 2.3.9 with lunr-languages 1.22.0 (npm), Japanese.
# Expected: what stands in a Japanese note is found by typing it: a word, a compound, a number, an
#   English word.
# What happens: texts are cut into words by TinySegmenter, queries are not: a compound (東京タワー) is in
#   the index as two words and is not found when it is typed whole; a number is in the index as
#   single digits and is never found. English words are stored whole but looked up by their English
#   stem (invoice: invoic), so that some are found (zoom) and some are not.
# Who meets it: offline search in an app or a static site with Japanese notes.
# What to do: cut the query with lunr.TinySegmenter too and search for all parts; load English with
#   lunr.multiLanguage("en", "ja"), which finds "invoice" and lone numbers, but no compounds.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts lunr@2.3.9 lunr-languages@1.22.0
cat >run.js <<'JS'
const lunr = require('lunr')
for (const part of ['lunr.stemmer.support', 'tinyseg', 'lunr.ja']) {
  require('lunr-languages/' + part)(lunr)
}
const note = '京都と東京タワーの会議は2024年 zoom で invoice 4711 を送る'
const index = lunr(function () {
  this.use(lunr.ja)
  this.ref('id')
  this.field('text')
  this.add({ id: 1, text: note })
})
for (const query of ['会議', '東京タワー', '2024', '4711', 'zoom', 'invoice']) {
  console.log(query + ':', index.search(query).length ? 'found' : 'not found')
}
JS
seen=$(node run.js 2>/dev/null)

echo 'software: lunr 2.3.9, lunr-languages 1.22.0'
echo 'expected: found, six times'
echo 'seen:'
echo "$seen"
if [[ $seen == '会議: found
東京タワー: not found
2024: not found
4711: not found
zoom: found
invoice: not found' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: lunr-languages no longer behaves as described above.'
	exit 1
fi
