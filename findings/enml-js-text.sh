#!/usr/bin/env bash
# Software: enml-js 0.1.3 (npm), a reader of Evernote's note format.
# Expected: PlainTextOfENML gives the text of the note, HTMLOfENML its HTML.
# What happens: in the text, a <br/> between two words leaves nothing, so that they run together,
#   the cells of a table too; entities stay as they are written (&amp;). In the HTML, a non-breaking
#   space (&nbsp;) is dropped: "call&nbsp;Ada" becomes "callAda".
# Who meets it: importers of ENEX and of Evernote's API.
# What to do: parse the note as XML with the entities of its DTD (XHTML's), and turn <br/> and the
#   ends of cells into white space before taking the text.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts enml-js@0.1.3
cat >run.js <<'JS'
const { PlainTextOfENML, HTMLOfENML } = require('enml-js')
const note = (body) => '<?xml version="1.0" encoding="UTF-8"?>' +
  '<!DOCTYPE en-note SYSTEM "http://xml.evernote.com/pub/enml2.dtd"><en-note>' + body + '</en-note>'
for (const body of ['call<br/>Ada', '<table><tr><td>eggs</td><td>12</td></tr></table>', 'milk &amp; bread']) {
  console.log('text:', PlainTextOfENML(note(body)))
}
console.log('html:', HTMLOfENML(note('<div>call&nbsp;Ada</div>'), []).match(/<div>.*<\/div>/)[0])
JS
seen=$(node run.js)

echo 'software: enml-js 0.1.3'
echo 'expected: white space between the words, and one plain &'
echo 'seen:'
echo "$seen"
if [[ $seen == 'text: callAda
text: eggs12
text: milk &amp; bread
html: <div>callAda</div>' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: enml-js no longer behaves as described above.'
	exit 1
fi
