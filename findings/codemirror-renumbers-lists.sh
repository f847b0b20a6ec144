#!/usr/bin/env bash
# Software: @codemirror/lang-markdown 6.5.2 with @codemirror/state 6.7.6 (npm).
# Expected: Enter behind an item of a numbered list adds one line. Two devices that add an item at
#   different places of one list then merge without a clash.
# What happens: insertNewlineContinueMarkup, which markdown() binds to Enter, also gives each
#   following item of the list a new number. One key press changes all lines to the list's end, so
#   that both devices change the same lines: a merge by lines is a clash, though each wrote one
#   item.
# Who meets it: apps that merge notes and edit them in CodeMirror. Bullets and a list of 1. 1. 1.
#   are left alone.
# What to do: merge numbered items by their text without the number, or bind Enter to a command of
#   your own that adds a line and leaves the numbers to the renderer.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts @codemirror/lang-markdown@6.5.2 \
	@codemirror/state@6.7.6 @codemirror/language@6.13.1 @codemirror/view@6.43.15
cat >run.mjs <<'JS'
import { writeFileSync } from 'node:fs'
import { EditorState } from '@codemirror/state'
import { ensureSyntaxTree } from '@codemirror/language'
import { insertNewlineContinueMarkup, markdown } from '@codemirror/lang-markdown'
const base = '1. milk\n2. bread\n3. eggs\n4. salt\n5. soap\n6. rice\n'
// add presses Enter behind an item and types a text.
function add(after, text) {
  const anchor = base.indexOf(after) + after.length
  let state = EditorState.create({ doc: base, selection: { anchor }, extensions: [markdown()] })
  if (!ensureSyntaxTree(state, base.length, 60_000)) throw new Error('not parsed in time')
  state = state.update({}).state // takes the tree over
  if (!insertNewlineContinueMarkup({ state, dispatch: (tr) => (state = tr.state) })) throw new Error('no list')
  return state.update(state.replaceSelection(text)).state.doc.toString()
}
writeFileSync('base', base)
writeFileSync('phone', add('milk', 'tea'))
writeFileSync('desk', add('soap', 'oil'))
console.log(JSON.stringify(add('milk', 'tea')))
JS
node run.mjs >phone.json
status=0
git merge-file -p phone base desk >merged 2>/dev/null || status=$?

echo "software: @codemirror/lang-markdown 6.5.2, $(git --version)"
echo 'expected: one line more on each device; a merge without a conflict'
echo "seen: $(cat phone.json), conflicts: $status"
if [[ $status == 1 &&
	$(cat phone.json) == '"1. milk\n2. tea\n3. bread\n4. eggs\n5. salt\n6. soap\n7. rice\n"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: lang-markdown no longer behaves as described above.'
	exit 1
fi
