#!/usr/bin/env bash
# Software: webdav 5.11.0 (npm), a client for browsers and Node.
# Expected: what lock() gives can be handed to unlock(), and to lock() again to refresh the lock.
# What happens: the token goes out bare. RFC 4918 (10.5, 10.4) asks for Lock-Token: <token> and for
#   If: (<token>). A strict server, such as golang.org/x/net/webdav, answers 400 to the UNLOCK, and
#   as the client asks for "Infinite, Second-4100000000", the file stays locked.
# Who meets it: a server that is strict, with clients built on this package.
# What to do: as a client call unlock(path, `<${token}>`), and give refreshToken as `(<${token}>)`;
#   as a server take a bare token too, and give no lock without end.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts webdav@5.11.0
cat >run.mjs <<'JS'
import { createServer } from 'node:http'
import { createClient } from 'webdav'
const token = 'opaquelocktoken:f81de2ad-7f3d-a1b2-4f3c-00a0c91a9d76'
const answer = `<?xml version="1.0"?><D:prop xmlns:D="DAV:"><D:lockdiscovery><D:activelock>
<D:timeout>Second-600</D:timeout><D:locktoken><D:href>${token}</D:href></D:locktoken>
</D:activelock></D:lockdiscovery></D:prop>`
const server = createServer((req, res) => {
  for (const name of ['timeout', 'lock-token', 'if']) {
    if (req.headers[name]) console.log(req.method, name + ':', req.headers[name])
  }
  if (req.method === 'UNLOCK') return res.writeHead(204).end()
  res.writeHead(200, { 'Content-Type': 'application/xml', 'Lock-Token': `<${token}>` }).end(answer)
}).listen(0, '127.0.0.1', async () => {
  const client = createClient(`http://127.0.0.1:${server.address().port}/`)
  const lock = await client.lock('/note.md')
  await client.lock('/note.md', { refreshToken: lock.token, timeout: 'Second-600' })
  await client.unlock('/note.md', lock.token)
  server.close()
  server.closeAllConnections()
})
JS
seen=$(node run.mjs)

echo 'software: webdav 5.11.0'
echo 'expected: if: (<opaquelocktoken:…>), lock-token: <opaquelocktoken:…>'
echo 'seen:'
echo "$seen"
if [[ $seen == 'LOCK timeout: Infinite, Second-4100000000
LOCK timeout: Second-600
LOCK if: opaquelocktoken:f81de2ad-7f3d-a1b2-4f3c-00a0c91a9d76
UNLOCK lock-token: opaquelocktoken:f81de2ad-7f3d-a1b2-4f3c-00a0c91a9d76' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the webdav client no longer behaves as described above.'
	exit 1
fi
