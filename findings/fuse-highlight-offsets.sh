#!/usr/bin/env bash
# Software: fuse.js 7.5.0 (npm), with includeMatches.
# Expected: the match's indices are places in the text that was given, so that they mark the hit.
# What happens: they are places in the text as Fuse made it for the search. With ignoreDiacritics
#   that is the decomposed text without its marks: an é of two code points counts one, a Korean
#   syllable two or three, so that the mark may lie behind the end of the text. Without the option
#   it is the lower-cased text, where the Turkish capital İ counts two.
# Who meets it: search as you type that marks the hits, in Korean, in decomposed text, in Turkish.
# What to do: look for the hit in the original text yourself.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts fuse.js@7.5.0
cat >run.mjs <<'JS'
import Fuse from 'fuse.js'
for (const [text, ignoreDiacritics] of [
  ['plain english note', true],
  ['cafe\u0301 and a note', true],
  ['한국어 공부 note', true],
  ['İstanbul note', false],
]) {
  const options = { includeMatches: true, ignoreLocation: true, threshold: 0.1, minMatchCharLength: 4 }
  const fuse = new Fuse([text], { ...options, ignoreDiacritics })
  const [from, to] = fuse.search('note')[0].matches[0].indices[0]
  console.log(JSON.stringify(text.slice(from, to + 1)), from - text.indexOf('note'), 'off')
}
JS
seen=$(node run.mjs)

echo 'software: fuse.js 7.5.0'
echo 'expected: "note" 0 off, four times'
echo 'seen:'
echo "$seen"
if [[ $seen == '"note" 0 off
" not" -1 off
"" 8 off
"ote" 1 off' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: fuse.js no longer behaves as described above.'
	exit 1
fi
