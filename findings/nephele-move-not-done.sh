#!/usr/bin/env bash
# Software: nephele 1.0.0-alpha.67 with @nephele/adapter-file-system 1.0.0-alpha.61 as the server,
#   webdav 5.11.0 as the client (npm).
# Expected: a rename onto a name that is taken fails under Overwrite: F with 412 (RFC 4918,
#   9.9.4), so that moveFile(..., { overwrite: false }) throws.
# What happens: the server answers 207 and puts the 412 into the body. The client takes each
#   status below 400 for success and does not read the body of a MOVE: moveFile returns, and
#   nothing was renamed.
# Who meets it: notes over WebDAV on Node: an app that renames a note, or moves it into a folder,
#   then holds that it has another name than it has; its next save makes a second note.
# What to do: the server's: answer 412. The client's: customRequest and a look at the status, or a
#   stat of both names after the move.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir files

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts nephele@1.0.0-alpha.67 \
	@nephele/adapter-file-system@1.0.0-alpha.61 @nephele/authenticator-none@1.0.0-alpha.61 express@5.3.0 webdav@5.11.0
cat >run.js <<'JS'
import { readdirSync, writeFileSync } from 'node:fs'
import FileSystemAdapter from '@nephele/adapter-file-system'
import NoAuthenticator from '@nephele/authenticator-none'
import express from 'express'
import nephele from 'nephele'
import { createClient } from 'webdav'

writeFileSync('files/plan.md', 'plan')
writeFileSync('files/list.md', 'list')
const app = express()
app.use(nephele({
  adapter: new FileSystemAdapter({ root: 'files' }), authenticator: new NoAuthenticator(),
}))
const server = app.listen(0, '127.0.0.1', async () => {
  const url = `http://127.0.0.1:${server.address().port}`
  const client = createClient(url)
  const moved = await client.moveFile('/plan.md', '/list.md', { overwrite: false })
    .then(() => 'success', (error) => `failure ${error.status}`)
  const status = (await fetch(`${url}/plan.md`, {
    method: 'MOVE', headers: { Destination: `${url}/list.md`, Overwrite: 'F' },
  })).status
  console.log(`status ${status}; moveFile: ${moved}; files: ${readdirSync('files').sort().join(' ')}`)
  process.exit()
})
JS
seen=$(node run.js)

echo 'software: nephele 1.0.0-alpha.67, webdav 5.11.0'
echo 'expected: status 412; moveFile: failure 412; files: list.md plan.md'
echo 'seen:'
echo "$seen"
if [[ $seen == 'status 207; moveFile: success; files: list.md plan.md' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: nephele or webdav no longer behaves as described above.'
	exit 1
fi
