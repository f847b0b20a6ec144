#!/usr/bin/env bash
# Software: reconcile-text 0.5.0 (npm), which merges texts without conflict markers.
# Expected: two devices that each append an item to a list get a list with both items, and with the
#   tokenizer "Line" every line of the result is a line of one side.
# What happens: by words, the default, both items become one: "- rice tea". By lines, a line that one
#   side deletes and the other changes is glued to the next one: "b changedc".
# Who meets it: apps that merge shopping lists and notes with it; nothing tells the person.
# What to do: merge by lines with an algorithm that keeps line ends, and show what overlaps.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts reconcile-text@0.5.0
cat >run.js <<'JS'
const { reconcile } = require("reconcile-text");
for (const [base, left, right, tokenizer] of [
  ["- milk\n- bread\n", "- milk\n- bread\n- tea\n", "- milk\n- bread\n- rice\n", "Word"],
  ["a\nb\nc\n", "a\nc\n", "a\nb changed\nc\n", "Line"],
]) {
  console.log(tokenizer + ":", [left, right].map((t) => JSON.stringify(t)).join(" + "), "->", JSON.stringify(reconcile(base, left, right, tokenizer).text));
}
JS
seen=$(node run.js)
echo 'software: reconcile-text 0.5.0'
echo 'expected: an item a line; only lines that a side has'
echo 'seen:'
echo "$seen"
if [[ $seen == *'-> "- milk\n- bread\n- rice tea\n"'* && $seen == *'-> "a\nb changedc\n"'* ]]; then
	echo 'As described.'
else
	echo 'CHANGED: reconcile-text no longer behaves as described above.'
	exit 1
fi
