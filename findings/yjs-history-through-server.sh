#!/usr/bin/env bash
# Software: yjs 13.6.33 (npm).
# Expected: an older version, kept as a snapshot by a client with gc: false, can be shown by
#   another client with gc: false, or is refused with an error, as createDocFromSnapshot does for
#   a document with gc: true.
# What happens: if the updates went through one document with the default gc: true, for instance
#   the one that a server keeps, the deleted text is gone from what it hands on. The check looks
#   at the last document only: the old version is an empty text, without an error. Who then
#   restores it, empties the note.
# Who meets it: version history over a server that holds a Y.Doc made with new Y.Doc(). It works
#   as long as the document was not loaded again from that server.
# What to do: gc: false in every place that the updates pass, or let the server keep updates (
#   mergeUpdates does not collect), or keep the text of each version beside its snapshot.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts yjs@13.6.33
cat >run.js <<'JS'
import * as Y from 'yjs'
const author = new Y.Doc({ gc: false })
const text = author.getText('note')
text.insert(0, 'the first version')
const snapshot = Y.snapshot(author)
text.delete(0, text.length)
text.insert(0, 'the second version')
const update = Y.encodeStateAsUpdate(author)

const server = new Y.Doc()
Y.applyUpdate(server, update)
for (const [way, bytes] of [
  ['straight', update],
  ['through a Y.Doc', Y.encodeStateAsUpdate(server)],
  ['through mergeUpdates', Y.mergeUpdates([update])],
]) {
  const reader = new Y.Doc({ gc: false })
  Y.applyUpdate(reader, bytes)
  const old = Y.createDocFromSnapshot(reader, snapshot).getText('note')
  console.log(`${way}: ${JSON.stringify(old.toString())}`)
}
try {
  Y.createDocFromSnapshot(server, snapshot)
  console.log('on the server: no error')
} catch (e) {
  console.log('on the server: an error')
}
JS
seen=$(node run.js)

echo 'software: yjs 13.6.33'
echo 'expected: "the first version" three times, or an error'
echo 'seen:'
echo "$seen"
if [[ $seen == 'straight: "the first version"
through a Y.Doc: ""
through mergeUpdates: "the first version"
on the server: an error' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: yjs no longer behaves as described above.'
	exit 1
fi
