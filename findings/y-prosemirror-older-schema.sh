#!/usr/bin/env bash
# Software: y-prosemirror 1.3.7 with yjs 13.6.33, prosemirror-view 1.44.0 (npm).
# Expected: an editor whose schema does not know a node or a mark, because the app on this device
#   is older, shows a gap or refuses. The shared document stays as it is as long as nobody types.
# What happens: to open the note is enough. What the schema does not know is deleted from the
#   shared document and the deletion is sent to everybody: an unknown block with all text in it,
#   and, for one word with an unknown mark, the whole text of its paragraph.
# Who meets it: editors on ProseMirror, TipTap and others with yjs, whenever a new version brings
#   a node (callouts, tables) or a mark (highlight), and one tab or phone still runs the old one.
# What to do: write the version of the schema into the document and do not open a newer one; ship
#   the new schema a release before the button for it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts y-prosemirror@1.3.7 yjs@13.6.33 \
	y-protocols@1.0.7 prosemirror-model@1.25.13 prosemirror-state@1.4.4 prosemirror-view@1.44.0 jsdom@29.1.1
cat >run.js <<'JS'
import { JSDOM } from 'jsdom'
const { window } = new JSDOM('<body></body>')
for (const name of ['document', 'Node', 'MutationObserver', 'getComputedStyle']) globalThis[name] = window[name]
globalThis.window = window
const Y = await import('yjs')
const { Schema } = await import('prosemirror-model')
const { EditorState } = await import('prosemirror-state')
const { EditorView } = await import('prosemirror-view')
const { ySyncPlugin, prosemirrorToYXmlFragment } = await import('y-prosemirror')

const nodes = {
  doc: { content: 'block+' },
  paragraph: { group: 'block', content: 'inline*', toDOM: () => ['p', 0] },
  text: { group: 'inline' },
}
const older = new Schema({ nodes })
const newer = new Schema({
  nodes: { ...nodes, callout: { group: 'block', content: 'block+', toDOM: () => ['aside', 0] } },
  marks: { highlight: { toDOM: () => ['mark', 0] } },
})

const shared = new Y.Doc(), device = new Y.Doc()
const fragment = shared.getXmlFragment('note')
const paragraph = (...content) => newer.node('paragraph', null, content)
prosemirrorToYXmlFragment(newer.node('doc', null, [
  paragraph(newer.text('call '), newer.text('Monday', [newer.mark('highlight')])),
  newer.node('callout', null, [paragraph(newer.text('bring the key'))]),
]), fragment)
Y.applyUpdate(device, Y.encodeStateAsUpdate(shared), 'network')
device.on('update', (update) => Y.applyUpdate(shared, update, 'network'))

console.log('before:', fragment.toString())
new EditorView(document.createElement('div'), {
  state: EditorState.create({ schema: older, plugins: [ySyncPlugin(device.getXmlFragment('note'))] }),
})
setTimeout(() => {
  console.log('opened:', fragment.toString())
  process.exit()
}, 500)
JS
seen=$(node run.js)

echo 'software: y-prosemirror 1.3.7, yjs 13.6.33, prosemirror-view 1.44.0'
echo 'expected: the same document before and after an older editor has opened it'
echo 'seen:'
echo "$seen"
if [[ $seen == 'before: <paragraph>call <highlight>Monday</highlight></paragraph><callout><paragraph>bring the key</paragraph></callout>
opened: <paragraph></paragraph>' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: y-prosemirror no longer behaves as described above.'
	exit 1
fi
