#!/usr/bin/env bash
# Software: eventsource 4.1.1 (npm), for Node.
# Expected: what the HTML standard says of ids: the last one stays until another comes. An event
#   without an id has the lastEventId of the one before, and a block that is only an id moves the
#   place from which the client resumes. Chromium does both.
# What happens: lastEventId is "" on an event without an id, and a block that is only an id is
#   ignored: the client comes back without Last-Event-ID, or with an older one.
# Who meets it: clients in Node (MCP, tests, scripts) that store lastEventId after each event,
#   against a server that puts ids on some events only, or that moves the place without an event.
# What to do: as a client keep the last id that was not empty; as a server put an id on each event.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts eventsource@4.1.1
cat >run.mjs <<'JS'
import { createServer } from 'node:http'
import { EventSource } from 'eventsource'
const streams = {
  '/event': 'retry: 50\nid: 1\ndata: a\n\ndata: b\n\n',
  '/bare': 'retry: 50\nid: 1\ndata: a\n\nid: 2\n\n',
}
async function visit(path) {
  const ids = []
  let visits = 0
  const server = createServer((req, res) => {
    if (++visits === 1) return res.writeHead(200, { 'Content-Type': 'text/event-stream' }).end(streams[path])
    console.log(path, 'lastEventId:', JSON.stringify(ids), 'came back with', req.headers['last-event-id'])
    res.writeHead(204).end()
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const source = new EventSource(`http://127.0.0.1:${server.address().port}${path}`)
  source.onmessage = (event) => ids.push(event.lastEventId)
  await new Promise((resolve) => (source.onerror = () => source.readyState === 2 && resolve()))
  server.close()
  server.closeAllConnections()
}
await visit('/event')
await visit('/bare')
JS
seen=$(timeout 20 node run.mjs)

echo 'software: eventsource 4.1.1'
echo 'expected: lastEventId ["1","1"] and came back with 1; came back with 2'
echo 'seen:'
echo "$seen"
if [[ $seen == '/event lastEventId: ["1",""] came back with 1
/bare lastEventId: ["1"] came back with 1' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: eventsource no longer behaves as described above.'
	exit 1
fi
