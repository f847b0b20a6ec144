#!/usr/bin/env bash
# Software: diff 9.0.0 (npm; jsdiff).
# Expected: a history of Markdown notes shows a line that was added at the end as one added line, and
#   a list item that was indented (which makes it part of the item above) as a difference.
# What happens: diffLines takes the line break for a part of the line. So the last line of a note that
#   ends without one is shown as removed and added again. diffWords finds no difference between two
#   texts that differ in indentation only, and returns the new text as common to both.
# Who meets it: histories and conflict views of notes, whose last line seldom ends with a line break.
# What to do: add the missing line break to both texts, or compare changed lines by diffWordsWithSpace.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.mjs <<'JS'
import { diffLines, diffWords, diffWordsWithSpace } from "diff";

const shown = (changes) => changes.map((c) => (c.added ? "+" : c.removed ? "-" : "=") + JSON.stringify(c.value)).join(" ");
console.log("lines:", shown(diffLines("milk\nbread", "milk\nbread\neggs")));
console.log("words:", shown(diffWords("- milk\n- bread", "- milk\n  - bread")));
console.log("words with space:", shown(diffWordsWithSpace("- milk\n- bread", "- milk\n  - bread")));
JS
npm install --silent --no-save diff@9.0.0 >/dev/null 2>&1
seen=$(node main.mjs)
echo 'software: diff 9.0.0'
echo 'expected: lines: ="milk\nbread" +"\neggs", or the like; words: the two blanks as added'
echo 'seen:'
echo "$seen"
if [[ $seen == 'lines: ="milk\n" -"bread" +"bread\neggs"
words: ="- milk\n  - bread"
words with space: ="- milk\n" +"  " ="- bread"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: diff no longer behaves as described above.'
	exit 1
fi
