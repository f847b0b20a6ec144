#!/usr/bin/env bash
# Software: yjs 13.6.33 (npm).
# Expected: map.set('due', new Date(...)) stores the date, or throws, as set does for a function
#   or for an object of an unknown class.
# What happens: set takes it and get gives the Date back here, for as long as the document is in
#   memory. What is sent and stored is {}: on the other devices, and here after a reload, the date
#   is an empty object. The same for a Date inside an object or an array.
# Who meets it: due dates and reminders in a Y.Map. On the device of the person who tests it, all
#   is well.
# What to do: store numbers or ISO texts.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts yjs@13.6.33
cat >run.js <<'JS'
import * as Y from 'yjs'
const here = new Y.Doc(), there = new Y.Doc()
const note = here.getMap('note')
note.set('due', new Date('2024-01-15T09:00:00Z'))
note.set('reminder', { at: new Date('2024-01-15T09:00:00Z') })
Y.applyUpdate(there, Y.encodeStateAsUpdate(here), 'network')
console.log('here: ', JSON.stringify(note))
console.log('there:', JSON.stringify(there.getMap('note')))
try {
  note.set('f', new (class Tag {})())
  console.log('another class is taken')
} catch (e) {
  console.log('another class throws')
}
JS
seen=$(node run.js)

echo 'software: yjs 13.6.33'
echo 'expected: the date at both places, or an error at the first'
echo 'seen:'
echo "$seen"
if [[ $seen == 'here:  {"due":"2024-01-15T09:00:00.000Z","reminder":{"at":"2024-01-15T09:00:00.000Z"}}
there: {"due":{},"reminder":{"at":{}}}
another class throws' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: yjs no longer behaves as described above.'
	exit 1
fi
