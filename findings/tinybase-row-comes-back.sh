#!/usr/bin/env bash
# Software: tinybase 10.0.1 (npm), MergeableStore.
# Expected: a note is deleted on one device and edited on the other at the same time. After the
#   merge the note is either gone or there whole.
# What happens: a deleted row is its cells set to nothing, each by itself. If the edit is later by
#   the clock, the note comes back with the edited cell alone: no title, no tags, no id of its
#   folder, on both devices. If it is earlier, the edit is gone.
# Who meets it: apps that keep a note in a row and delete rows. The list then shows a note without
#   a title, and the deleted one cannot be brought back whole.
# What to do: a cell `trashed` instead of delRow; remove rows for good only when no device can
#   still hold an edit.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts tinybase@10.0.1
cat >run.js <<'JS'
import { createMergeableStore } from 'tinybase'
const wait = () => new Promise((resolve) => setTimeout(resolve, 20))
const edit = (store) => store.setCell('notes', 'n', 'text', 'milk and eggs')
const drop = (store) => store.delRow('notes', 'n')
for (const [name, first, second] of [['edit is later: ', drop, edit], ['edit is earlier:', edit, drop]]) {
  const phone = createMergeableStore('phone'), desk = createMergeableStore('desk')
  phone.setRow('notes', 'n', { title: 'Shopping', text: 'milk', tags: 'home' })
  desk.merge(phone)
  await wait()
  first(phone)
  await wait()
  second(desk)
  phone.merge(desk)
  console.log(name, JSON.stringify(phone.getTables()), JSON.stringify(desk.getTables()))
}
JS
seen=$(node run.js)

echo 'software: tinybase 10.0.1'
echo 'expected: the note whole, or no note'
echo 'seen (the notes on both devices):'
echo "$seen"
if [[ $seen == 'edit is later:  {"notes":{"n":{"text":"milk and eggs"}}} {"notes":{"n":{"text":"milk and eggs"}}}
edit is earlier: {} {}' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: TinyBase no longer behaves as described above.'
	exit 1
fi
