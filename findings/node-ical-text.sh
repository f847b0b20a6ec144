#!/usr/bin/env bash
# Software: node-ical 0.26.1; ical.js 2.2.1 as the writer and for comparison (npm).
# Expected: a text that one library writes into an iCalendar file is read by the other as it was.
# What happens: node-ical undoes \n, \, and \; one after the other and \\ last. A backslash before
#   an n, as in C:\new or \nabla, which stands as \\n in the file, becomes a backslash and a line
#   break. Categories are cut at every comma, also at one that is escaped: "home, office" becomes
#   "home\" and "office".
# Who meets it: readers of journals and tasks (VJOURNAL, VTODO), for instance an import from a
#   CalDAV server: paths, regular expressions and formulas in notes change, tags are split.
# What to do: ical.js, which reads both right.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts node-ical@0.26.1 ical.js@2.2.1
cat >run.js <<'JS'
import ICAL from 'ical.js'
import ical from 'node-ical'
const calendar = new ICAL.Component('vcalendar'), note = new ICAL.Component('vjournal')
note.updatePropertyWithValue('uid', '1')
note.updatePropertyWithValue('description', 'moved to C:\\new\\notes')
const tags = new ICAL.Property('categories')
tags.setValues(['home, office', 'work'])
note.addProperty(tags)
calendar.addSubcomponent(note)
const file = calendar.toString()

const again = new ICAL.Component(ICAL.parse(file)).getFirstSubcomponent('vjournal')
console.log('ical.js:  ', JSON.stringify(again.getFirstPropertyValue('description')),
  JSON.stringify(again.getFirstProperty('categories').getValues()))
const read = ical.sync.parseICS(file)['1']
console.log('node-ical:', JSON.stringify(read.description), JSON.stringify(read.categories))
JS
seen=$(node run.js)

echo 'software: node-ical 0.26.1, ical.js 2.2.1'
echo 'expected: "moved to C:\\new\\notes" ["home, office","work"], twice'
echo 'seen (as JSON):'
echo "$seen"
if [[ $seen == 'ical.js:   "moved to C:\\new\\notes" ["home, office","work"]
node-ical: "moved to C:\\\new\\\notes" ["home\\","office","work"]' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: node-ical no longer behaves as described above.'
	exit 1
fi
