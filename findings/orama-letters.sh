#!/usr/bin/env bash
# Software: @orama/orama 3.1.18 (npm), default options (language english).
# Expected: words with letters beyond a to z are found, whole or without their accents, as café
#   is.
# What happens: the English tokenizer knows the accented letters of Italian and cuts at all
#   others. A search for zurich does not find "Zürich", a search for rich does; naive does not
#   find "naïve", facade not "façade". Words of other alphabets are cut to nothing: a note in
#   Cyrillic or Greek is never found, without an error.
# Who meets it: search over notes with names of people and places, in any language; tests with
#   café pass.
# What to do: another language only moves the gaps (german finds Zürich and loses café). Give a
#   tokenizer of one's own that folds accents and cuts at /[^\p{L}\p{M}\p{N}]+/u.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts @orama/orama@3.1.18
cat >run.js <<'JS'
import { create, insert, search } from '@orama/orama'
const db = create({ schema: { title: 'string' } })
for (const title of ['Zürich', 'naïve', 'façade', 'café', 'Москва']) await insert(db, { title })
for (const term of ['cafe', 'zurich', 'rich', 'naive', 'facade', 'Москва']) {
  const { hits } = await search(db, { term })
  console.log(term, '->', hits.map((hit) => hit.document.title).join(' '))
}
JS
seen=$(node run.js)

echo 'software: @orama/orama 3.1.18'
echo 'expected: café, Zürich, nothing, naïve, façade, Москва'
echo 'seen:'
echo "$seen"
if [[ $seen == 'cafe -> café
zurich -> 
rich -> Zürich
naive -> 
facade -> 
Москва -> ' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: Orama no longer behaves as described above.'
	exit 1
fi
