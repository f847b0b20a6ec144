#!/usr/bin/env bash
# Software: markdownlint-cli2 0.22.1 with markdownlint 0.40.0 (npm), default rules, --fix.
# Expected: a fix changes how the source looks and not what the note says.
# What happens: six ordinary lines say something else afterwards. A line that opens with a tag
#   (#home) or a number (#1) becomes a heading, 5 * 3 * 2 becomes 5 *3* 2 with the 3 in italics, a
#   paragraph "2024. A good year" is renumbered to 1., the exclamation mark of a heading and the
#   tabs of a Makefile in a code block are removed.
# Who meets it: folders of notes under a pre-commit hook, and editors that fix at each save. Notes
#   of Obsidian, Logseq or memos open many lines with a tag.
# What to do: turn off MD010 for code ("code_blocks": false), MD018, MD026, MD029 and MD037.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts markdownlint-cli2@0.22.1 markdownlint@0.40.0
printf '%s\n' '# We won!' '' '#home call the plumber' '' '#1 is the roof' '' '5 * 3 * 2 = 30' '' \
	'2024. A good year' '' '```make' 'all:' $'\techo done' '```' >note.md
cp note.md before.md
npx markdownlint-cli2 --fix note.md >lint.log 2>&1 || true
seen=$(diff before.md note.md || true)

echo 'software: markdownlint-cli2 0.22.1'
echo 'expected: no difference that a reader of the rendered note would see'
echo 'seen (diff before after):'
echo "$seen"
if [[ $seen == '1c1
< # We won!
---
> # We won
3c3
< #home call the plumber
---
> # home call the plumber
5c5
< #1 is the roof
---
> # 1 is the roof
7c7
< 5 * 3 * 2 = 30
---
> 5 *3* 2 = 30
9c9
< 2024. A good year
---
> 1. A good year
13c13
< 	echo done
---
>  echo done' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: markdownlint no longer behaves as described above.'
	exit 1
fi
