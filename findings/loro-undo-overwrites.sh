#!/usr/bin/env bash
# Software: loro-crdt 1.17.1; yjs 13.6.33 for comparison (npm).
# Expected: I set a title, another person sees it and sets a newer one, I press undo: my change is
#   no longer there to be undone, and the newer title stays. yjs does so.
# What happens: Loro's UndoManager sets the title back to what it was before mine, as a new
#   change. The newer title is gone, on all devices. Undo of one's own step takes back a step of
#   somebody else that nobody wanted undone.
# Who meets it: title, colour, folder and other plain values of notes in a LoroMap, with two
#   people or two devices. Text in a LoroText is not affected.
# What to do: keep plain values out of the undo (excludeOriginPrefixes and an origin for their
#   commits), or look before undo() whether the value is still one's own.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts yjs@13.6.33 loro-crdt@1.17.1
cat >run.js <<'JS'
import { LoroDoc, UndoManager } from 'loro-crdt'
import * as Y from 'yjs'

const titles = ['old', 'mine', 'newer']
{
  const me = new LoroDoc(), other = new LoroDoc()
  me.setPeerId('1')
  other.setPeerId('2')
  const set = (from, to, title) => {
    from.getMap('note').set('title', title)
    from.commit()
    to.import(from.export({ mode: 'update' }))
  }
  set(me, other, titles[0])
  const undo = new UndoManager(me, {})
  set(me, other, titles[1])
  set(other, me, titles[2])
  undo.undo()
  other.import(me.export({ mode: 'update' }))
  console.log('loro:', me.getMap('note').get('title'), other.getMap('note').get('title'))
}
{
  const me = new Y.Doc(), other = new Y.Doc()
  const set = (from, to, title) => {
    from.getMap('note').set('title', title)
    Y.applyUpdate(to, Y.encodeStateAsUpdate(from), 'network')
  }
  set(me, other, titles[0])
  const undo = new Y.UndoManager(me.getMap('note'), { captureTimeout: 0 })
  set(me, other, titles[1])
  set(other, me, titles[2])
  undo.undo()
  Y.applyUpdate(other, Y.encodeStateAsUpdate(me), 'network')
  console.log('yjs: ', me.getMap('note').get('title'), other.getMap('note').get('title'))
}
JS
seen=$(node run.js)

echo 'software: loro-crdt 1.17.1, yjs 13.6.33'
echo 'expected: newer newer, twice'
echo 'seen (the title after undo, here and there):'
echo "$seen"
if [[ $seen == 'loro: old old
yjs:  newer newer' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: Loro or yjs no longer behaves as described above.'
	exit 1
fi
