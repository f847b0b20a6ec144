#!/usr/bin/env bash
# Software: @modelcontextprotocol/sdk 1.32.2 (npm).
# Expected: a resource note:///{title} is asked for as note:///Caf%C3%A9%20plan, which the SDK's
#   own expand gives, and its handler gets "Café plan". search:///{?q,limit} also serves a request
#   without limit, since a variable of a query may be undefined in RFC 6570.
# What happens: the handler gets "Caf%C3%A9%20plan" and finds no such note. A request in which one
#   of the query's variables is missing matches no template, and one in another order neither.
# Who meets it: MCP servers that name notes by title, folder or tag: English titles of one word
#   work. (modelcontextprotocol/typescript-sdk#2728 tells of the first.)
# What to do: decodeURIComponent in each handler, once; ids instead of titles; tools instead of
#   resources for searches.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts @modelcontextprotocol/sdk@1.32.2
cat >run.js <<'JS'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js'
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/sdk/server/mcp.js'
import { UriTemplate } from '@modelcontextprotocol/sdk/shared/uriTemplate.js'

const server = new McpServer({ name: 'notes', version: '1' })
for (const uri of ['note:///{title}', 'search:///{?q,limit}']) {
  server.registerResource(uri, new ResourceTemplate(uri, { list: undefined }), {}, async (url, values) => (
    { contents: [{ uri: url.href, text: JSON.stringify(values) }] }))
}
const client = new Client({ name: 'reader', version: '1' })
const [one, other] = InMemoryTransport.createLinkedPair()
await Promise.all([server.connect(one), client.connect(other)])
for (const uri of [
  new UriTemplate('note:///{title}').expand({ title: 'Café plan' }),
  new UriTemplate('search:///{?q,limit}').expand({ q: 'milk', limit: '5' }),
  new UriTemplate('search:///{?q,limit}').expand({ q: 'milk' }),
  'search:///?limit=5&q=milk',
]) {
  const text = await client.readResource({ uri }).then((r) => r.contents[0].text, () => 'not found')
  console.log(`${uri} -> ${text}`)
}
process.exit()
JS
seen=$(node run.js)

echo 'software: @modelcontextprotocol/sdk 1.32.2'
echo 'expected: {"title":"Café plan"}, and q in each of the three searches'
echo 'seen:'
echo "$seen"
if [[ $seen == 'note:///Caf%C3%A9%20plan -> {"title":"Caf%C3%A9%20plan"}
search:///?q=milk&limit=5 -> {"q":"milk","limit":"5"}
search:///?q=milk -> not found
search:///?limit=5&q=milk -> not found' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the SDK no longer behaves as described above.'
	exit 1
fi
