#!/usr/bin/env bash
# Software: @notesnook-importer/core 2.4.5 (npm), its Markdown provider.
# Expected: a Markdown file becomes a note with the title of its front matter, or of the file, and
#   with its whole text.
# What happens: the first heading of level 1 or 2 is taken out of the text, wherever it stands, as
#   the title. When the title comes from the front matter or the file name, the heading is
#   nowhere: the recipe has no "Ingredients" any more. A note with a footnote and no heading is
#   called "Footnotes". A tag that is a number (- 2024) drops the whole note.
# Who meets it: who moves from Obsidian, Joplin or a folder of files; only the dropped note is
#   reported.
# What to do: put the title as a heading before the text of each file and quote the tags before
#   the import.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts @notesnook-importer/core@2.4.5 esbuild@0.28.2
cat >run.js <<'JS'
import { ProviderFactory, transform } from '@notesnook-importer/core'
console.error = () => {}
async function show(name, text, options) {
  const notes = []
  const errors = await transform(
    ProviderFactory.getProvider('md'),
    [{ name, path: name, size: text.length, data: new Blob([text]) }],
    { storage: { write: async (note) => notes.push(note) }, reporter() {}, hasher: {}, ...options },
  )
  for (const note of notes) {
    const lines = note.content.data.replace(/<section[^]*/, '').replace(/<[^>]*>/g, ' ')
    console.log(`${note.title}: ${lines.replace(/\s+/g, ' ').trim()}`)
  }
  for (const error of errors) console.log(`${name} dropped: ${error.message}`)
}
(async () => {
  const recipe = 'For four.\n\n## Ingredients\n\n- eggs\n\n## Steps\n\nMix.\n'
  await show('p.md', '---\ntitle: Pancakes\n---\n' + recipe)
  await show('Pancakes.md', recipe, { filenameAsTitle: true })
  await show('Rent.md', 'Due on Friday[^1].\n\n[^1]: By noon.\n')
  await show('Tax.md', '---\ntags:\n  - 2024\n---\nDone.\n')
})()
JS
npx esbuild run.js --bundle --platform=node --outfile=bundle.js --log-level=error
seen=$(node bundle.js)

echo 'software: @notesnook-importer/core 2.4.5'
echo 'expected: Pancakes: For four. Ingredients eggs Steps Mix. (twice); Rent: ...; Tax: Done.'
echo 'seen (title: text without its tags):'
echo "$seen"
if [[ $seen == 'Pancakes: For four. eggs Steps Mix.
Pancakes: For four. eggs Steps Mix.
Footnotes: Due on Friday 1 .
Tax.md dropped: tag.replace is not a function' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the importer no longer behaves as described above.'
	exit 1
fi
