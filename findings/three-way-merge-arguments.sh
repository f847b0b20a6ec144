#!/usr/bin/env bash
# Software: three-way-merge 0.1.0 (npm).
# Expected: merge(base, left, right), as its README calls it, with the README's own example merging
#   cleanly.
# What happens: the function takes (left, base, right). Called as the README says, the example is a
#   conflict. Worse is an edit on the left side only: the result is the text without that edit, and
#   isConflict() is false.
# Who meets it: whoever merges two edits of a note in a browser and takes this package for its size.
#   A short test with an edit on the right side passes in both orders.
# What to do: call merge(left, base, right), and test with an edit on each side alone.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts three-way-merge@0.1.0

cat >run.js <<'JS'
const merge = require('three-way-merge').default
const show = (m) => (m.isConflict() ? 'conflict' : JSON.stringify(m.joinedResults()))
const base = 'milk\nbread\n'
const left = 'milk\nbread\ncheese\n'
console.log('readme:', show(merge('1\n2\n3\n4\n5\n6', '2\n3\n4\n5\n6', '1\n2\n3\n4\n9\n6')))
console.log('base first:', show(merge(base, left, base)))
console.log('left first:', show(merge(left, base, base)))
JS
seen=$(node run.js)

echo 'software: three-way-merge 0.1.0'
echo 'expected: the README example merges; a line added on the left is in the result'
echo 'seen:'
echo "$seen"
if [[ $seen == 'readme: conflict
base first: "milk\nbread\n"
left first: "milk\nbread\ncheese\n"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: three-way-merge no longer behaves as described above.'
	exit 1
fi
