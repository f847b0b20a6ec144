#!/usr/bin/env bash
# Software: vditor 4.0.0 (npm), an editor of Markdown in Chinese note and wiki servers; its parser is Lute.
# Expected: a note that is opened in its usual mode (instant rendering), and saved after an edit of one
#   word, differs in that word.
# What happens: code that is indented by four blanks becomes a paragraph, whose indentation means
#   nothing. A hard line break at which a line ends with two blanks or a backslash loses them. Each
#   box gets a second blank behind it, and a ticked one a capital X.
# Who meets it: whoever opens an older note there: code is lost as code at the first save, and each
#   task differs from what other devices have, so that their edits clash.
# What to do: fence code; compare without blanks before a note counts as changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts vditor@4.0.0
cat >run.js <<'JS'
require("vditor/dist/js/lute/lute.min.js");
const lute = Lute.New();
lute.SetSanitize(true); // as the editor sets it
lute.SetFootnotes(true);
lute.SetVditorCodeBlockPreview(true);
for (const text of ["text\n\n    if x:\n        y()\n", "one\\\ntwo\n", "one  \ntwo\n", "- [ ] milk\n- [x] tea\n"]) {
  console.log(JSON.stringify(text), "->", JSON.stringify(lute.VditorIRDOM2Md(lute.Md2VditorIRDOM(text))));
}
JS
seen=$(node run.js)
echo 'software: vditor 4.0.0'
echo 'expected: the same on both sides'
echo 'seen:'
echo "$seen"
if [[ $seen == *'-> "text\n\nif x:\n'* && $(grep -c -- '-> "one\\ntwo\\n"' <<<"$seen") == 2 && $seen == *'-> "- [ ]  milk\n- [X]  tea\n"'* ]]; then
	echo 'As described.'
else
	echo 'CHANGED: Vditor no longer behaves as described above.'
	exit 1
fi
