#!/usr/bin/env bash
# Software: pouchdb-find 9.0.0 with pouchdb-core and pouchdb-adapter-memory 9.0.0 (npm).
# Expected: an index makes find faster and gives the same notes; the same query can be used twice.
# What happens: without an index { trashed: { $eq: null } } and { trashed: { $lt: 9 } } find only
#   notes that have the field; with an index on it, also those that lack it. And find changes the
#   object that it is given: a $regex is wrapped into a list, which the next find with the same
#   object refuses; a limit of 25 is written into it, too.
# Who meets it: lists that change when somebody adds an index, or when a database made by an older
#   version of the app has no index yet; queries that are kept as constants.
# What to do: store null or a number in each note and add { $exists: true }; give find a fresh
#   object each time.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts pouchdb-core@9.0.0 \
	pouchdb-adapter-memory@9.0.0 pouchdb-find@9.0.0
cat >run.js <<'JS'
const PouchDB = require('pouchdb-core')
  .plugin(require('pouchdb-adapter-memory')).plugin(require('pouchdb-find'))
;(async () => {
  const db = new PouchDB('notes', { adapter: 'memory' })
  await db.bulkDocs([{ _id: 'null', trashed: null }, { _id: 'without' }, { _id: 'five', trashed: 5 }])
  const find = async (query) => {
    try {
      return (await db.find(query)).docs.map((doc) => doc._id).sort().join(' ')
    } catch (e) {
      return 'error'
    }
  }
  const lists = async (name) => console.log(name, await find({ selector: { trashed: { $eq: null } } }),
    '|', await find({ selector: { trashed: { $lt: 9 } } }))
  await lists('no index:')
  await db.createIndex({ index: { fields: ['trashed'] } })
  await lists('index:   ')
  const query = { selector: { _id: { $regex: '^w' } } }
  console.log('twice:   ', await find(query), '|', await find(query), '|', 'limit ' + query.limit)
})()
JS
seen=$(node run.js 2>&1)

echo 'software: pouchdb-find 9.0.0'
echo 'expected: twice the same notes, with and without an index, and for the same query'
echo 'seen:'
echo "$seen"
if [[ $seen == 'no index: null | five null
index:    null without | five null without
twice:    without | error | limit 25' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: pouchdb-find no longer behaves as described above.'
	exit 1
fi
