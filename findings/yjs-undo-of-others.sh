#!/usr/bin/env bash
# Software: yjs 13.6.33 (npm).
# Expected: an UndoManager without options takes back what was typed here. What came in through
#   applyUpdate is somebody else's and stays.
# What happens: the UndoManager goes by the origin of a transaction, not by whether it is local.
#   applyUpdate without its third argument has the origin null, the same as typing has, so the
#   text of the other person is on the undo stack. Ctrl+Z takes it back, for everybody.
# Who meets it: providers of one's own: updates that come over SSE, a WebSocket or from a store
#   and are applied as the first example of the documentation does. The ready-made providers give
#   themselves as origin.
# What to do: applyUpdate(doc, update, provider), with anything but null; then the default is
#   right.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts yjs@13.6.33
cat >run.js <<'JS'
import * as Y from 'yjs'
for (const origin of [undefined, 'network']) {
  const here = new Y.Doc(), there = new Y.Doc()
  const send = (from, to) => Y.applyUpdate(to, Y.encodeStateAsUpdate(from), origin)
  const text = here.getText('note')
  const undo = new Y.UndoManager(text, { captureTimeout: 0 })
  text.insert(0, 'mine')
  send(here, there)
  there.getText('note').insert(4, ' and theirs')
  send(there, here)
  undo.undo()
  console.log(`origin ${origin}: ${JSON.stringify(text.toString())}`)
}
JS
seen=$(node run.js)

echo 'software: yjs 13.6.33'
echo 'expected: undo takes "mine" away and leaves " and theirs", twice'
echo 'seen:'
echo "$seen"
if [[ $seen == 'origin undefined: "mine"
origin network: " and theirs"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: yjs no longer behaves as described above.'
	exit 1
fi
