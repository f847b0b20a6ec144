#!/usr/bin/env bash
# Software: fake-indexeddb 6.2.8 (npm) on Node 20, through idb 8.0.4.
# Expected: a transaction with nothing to do ends, as in a browser: after an await on something that
#   is not the database, the next put throws TransactionInactiveError.
# What happens: the transaction lives until Node comes to its setImmediate queue. After an await on
#   Blob.text() or on a message from a worker the put works. Chromium 156, with the same code,
#   throws TransactionInactiveError 20 times of 20 for both.
# Who meets it: tests of an outbox or a cache that read an attachment or ask a worker between get
#   and put. They are green, and the write is lost in the browser.
# What to do: run what touches IndexedDB in a browser too. Read everything else before the
#   transaction.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts fake-indexeddb@6.2.8 idb@8.0.4
cat >run.mjs <<'JS'
import 'fake-indexeddb/auto'
import { openDB } from 'idb'
const db = await openDB('notes', 1, { upgrade: (db) => db.createObjectStore('notes') })
const foreign = {
  'Blob.text': () => new Blob(['text']).text(),
  'a message': () => new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => resolve(port1.close())
    port2.postMessage('question')
  }),
  setImmediate: () => new Promise(setImmediate),
}
for (const [name, wait] of Object.entries(foreign)) {
  let alive = 0
  for (let i = 0; i < 20; i++) {
    const tx = db.transaction('notes', 'readwrite')
    tx.done.catch(() => {})
    await tx.store.get(1)
    await wait()
    try {
      await tx.store.put('text', 1)
      alive++
    } catch {}
  }
  console.log('after', name + ':', alive > 0 ? 'alive' : 'ended')
}
process.exit()
JS
seen=$(node run.mjs)

echo 'software: fake-indexeddb 6.2.8, idb 8.0.4'
echo 'expected: ended, three times'
echo 'seen:'
echo "$seen"
if [[ $seen == 'after Blob.text: alive
after a message: alive
after setImmediate: ended' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: fake-indexeddb no longer behaves as described above.'
	exit 1
fi
