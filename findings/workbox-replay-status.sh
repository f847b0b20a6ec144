#!/usr/bin/env bash
# Software: workbox-background-sync 7.4.1 with workbox-core 7.4.1 (npm).
# Expected: saves that were queued offline stay in the queue until the server has taken them.
# What happens: at the replay any answer counts as delivered. With 503 (a restart, a proxy whose
#   server is not up yet), 429 or 401 (the session has ended in the meantime) the request leaves
#   the queue for good, the next one is sent, and replayRequests reports success. Only a
#   connection that fails keeps the request.
# Who meets it: apps that queue writes with BackgroundSyncPlugin or Queue: the notes of a day in
#   the train are gone when the first answer is a sign-in page.
# What to do: an onSync of one's own: shiftRequest, fetch, look at the status, unshiftRequest and
#   throw for 401, 408, 429 and 5xx. Or a queue in the app, which can ask the user.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts workbox-background-sync@7.4.1 \
	workbox-core@7.4.1 fake-indexeddb@6.2.8
cat >run.js <<'JS'
require('fake-indexeddb/auto')
const { readFileSync } = require('fs')
const { runInThisContext } = require('vm')
// What the scripts look for in a service worker.
Object.assign(globalThis, {
  self: globalThis, registration: { scope: 'https://notes.example/' },
  location: new URL('https://notes.example/sw.js'), addEventListener() {},
})
for (const name of ['workbox-core', 'workbox-background-sync']) {
  runInThisContext(readFileSync(`node_modules/${name}/build/${name}.prod.js`, 'utf8'))
}
async function replay(name, answers) {
  const queue = new workbox.backgroundSync.Queue(name, { onSync: async () => {} })
  for (const id of [1, 2]) {
    const request = new Request(`https://notes.example/notes/${id}`, { method: 'PUT', body: 'text' })
    await queue.pushRequest({ request })
  }
  globalThis.fetch = async () => {
    const status = answers.shift()
    if (!status) throw new TypeError('failed to fetch')
    return new Response('', { status })
  }
  const result = await queue.replayRequests().then(() => 'success', () => 'failure')
  console.log(`${name}: ${result}, ${await queue.size()} left`)
}
;(async () => {
  await replay('no connection', [0, 0])
  await replay('503', [503, 503])
  await replay('401', [401, 401])
})()
JS
seen=$(node run.js)

echo 'software: workbox-background-sync 7.4.1'
echo 'expected: failure, 2 left, three times'
echo 'seen:'
echo "$seen"
if [[ $seen == 'no connection: failure, 2 left
503: success, 0 left
401: success, 0 left' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: workbox no longer behaves as described above.'
	exit 1
fi
