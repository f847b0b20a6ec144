#!/usr/bin/env bash
# Software: dexie 4.4.7 (npm), here over fake-indexeddb 6.2.8.
# Expected: where(a).or(b).limit(2) gives two notes if two or more match.
# What happens: the queries of the two branches are counted together, before the doubles are
#   removed. A note that matches both uses up two places of the limit, so fewer notes come than
#   asked for: here half of them. The documentation warns of offset with or, not of limit.
# Who meets it: lists and "show more" in offline apps: a page that is not full is taken for the
#   last.
# What to do: no limit with or: toArray(), sort and slice.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts dexie@4.4.7 fake-indexeddb@6.2.8
cat >run.js <<'JS'
import 'fake-indexeddb/auto'
import Dexie from 'dexie'
const db = new Dexie('notes')
db.version(1).stores({ notes: 'id,pinned,updated' })
await db.notes.bulkAdd([1, 2, 3, 4, 5, 6].map((id) => ({ id, pinned: 1, updated: id })))
const query = () => db.notes.where('pinned').equals(1).or('updated').above(0)
console.log('all:', (await query().toArray()).length)
for (const n of [2, 4, 6]) console.log(`limit ${n}:`, (await query().limit(n).toArray()).length)
JS
seen=$(node run.js)

echo 'software: dexie 4.4.7'
echo 'expected: 6, 2, 4 and 6 notes'
echo 'seen:'
echo "$seen"
if [[ $seen == 'all: 6
limit 2: 1
limit 4: 2
limit 6: 3' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: dexie no longer behaves as described above.'
	exit 1
fi
