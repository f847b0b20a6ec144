#!/usr/bin/env bash
# Software: gray-matter 4.0.3 (npm).
# Expected: a block that is no YAML throws, each time it is read. `title: Plan: part 2` is such a
#   block, and programs that write front matter without a YAML library write it.
# What happens: the first call throws. The second call with the same text returns without an error:
#   `data` is empty and the block is part of `content`. The result is cached before it is parsed.
# Who meets it: an importer that tries again, a server that reads a note twice, a test that runs
#   twice in one process. What is refused depends on what was read before.
# What to do: pass an options object, even an empty one (`matter(text, {})`): it turns the cache
#   off. The cache also hands out one and the same object to all callers, so an edit of `data` shows
#   in later reads of an equal text.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts gray-matter@4.0.3

cat >run.js <<'JS'
const matter = require('gray-matter')
const note = '---\ntitle: Plan: part 2\n---\nbody\n'
function read(name, ...options) {
  try {
    console.log(name, JSON.stringify(matter(note, ...options).data))
  } catch (e) {
    console.log(name, 'throws', e.name)
  }
}
read('first call:')
read('second call:')
read('with options:', {})
JS
seen=$(node run.js)

echo 'software: gray-matter 4.0.3'
echo 'expected: each call throws'
echo 'seen:'
echo "$seen"
if [[ $seen == 'first call: throws YAMLException
second call: {}
with options: throws YAMLException' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: gray-matter no longer behaves as described above.'
	exit 1
fi
