#!/usr/bin/env bash
# Software: @notesnook-importer/core 2.4.5 (npm), its Google Keep provider.
# Expected: what Google's Takeout holds: text without markup, lists with boxes, notes in the bin.
# What happens: notes in the bin (isTrashed) come back as living ones. The text, which is plain in
#   Keep, is read as Markdown: "# 12 is free" is a heading, "1. FC Town won" a list, and the lines
#   below are drawn into it. The items of lists are put into HTML as they are: <div> in an item is
#   a tag, and not to be seen.
# Who meets it: everybody who leaves Keep; nothing is reported.
# What to do: empty the bin before the Takeout, and look through notes that open lines with #, -,
#   > or numbers. An importer escapes Markdown in textContent and HTML in listContent.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts @notesnook-importer/core@2.4.5 esbuild@0.28.2
cat >run.js <<'JS'
import { ProviderFactory, transform } from '@notesnook-importer/core'
async function show(title, note) {
  const text = JSON.stringify({
    title, isTrashed: false, isPinned: false, isArchived: false, color: 'DEFAULT',
    userEditedTimestampUsec: 1704164645000000, createdTimestampUsec: 1704164645000000, ...note,
  })
  const notes = []
  await transform(
    ProviderFactory.getProvider('keep'),
    [{ name: title + '.json', path: title + '.json', size: text.length, data: new Blob([text]) }],
    { storage: { write: async (note) => notes.push(note) }, reporter() {}, hasher: {} },
  )
  for (const { title, content } of notes) console.log(`${title}: ${content.data.replace(/\s+/g, ' ')}`)
  if (!notes.length) console.log(`${title}: left out`)
}
(async () => {
  await show('binned', { isTrashed: true, textContent: 'old' })
  await show('text', { textContent: '# 12 is free\n1. FC Town won\nDavid came\n- 5 degrees' })
  await show('list', { listContent: [{ text: 'replace <div> by <p>', isChecked: true }] })
})()
JS
npx esbuild run.js --bundle --platform=node --outfile=bundle.js --log-level=error
seen=$(node bundle.js)

echo 'software: @notesnook-importer/core 2.4.5'
echo 'expected: binned: left out; four lines as text; &lt;div&gt; in the item'
echo 'seen (title: HTML):'
echo "$seen"
if [[ $seen == 'binned: <p>old</p>
text: <h1>12 is free</h1> <ol> <li>FC Town won David came</li> </ol> <ul> <li>5 degrees</li> </ul>
list: <ul class="checklist"> <li class="checked">replace <div> by <p></li> </ul>' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the importer no longer behaves as described above.'
	exit 1
fi
