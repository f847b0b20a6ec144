#!/usr/bin/env bash
# Software: uniorg-parse 3.2.2, uniorg-stringify 1.4.0 (npm).
# Expected: an Org file that is read and written without an edit says the same.
# What happens: the start of a numbered list, [@5], becomes text of its first item ("5five"), and the
#   language of inline source code, src_sh{date}, becomes a subscript, src_{sh}{date}: Org runs and
#   exports it no more.
# Who meets it: tools that change one property or tag in Org files by this pair, and importers that
#   store what the writer gave.
# What to do: change the source text at the positions that the reader gives.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts unified@11.0.5 uniorg-parse@3.2.2 uniorg-stringify@1.4.0
cat >run.mjs <<'JS'
import { unified } from "unified";
import parse from "uniorg-parse";
import { uniorgStringify } from "uniorg-stringify";

const rewrite = unified().use(parse).use(uniorgStringify);
for (const text of ["3. three\n4. four\n", "5. [@5] five\n6. six\n", "today is src_sh{date} here\n"]) {
  console.log(JSON.stringify(text), "->", JSON.stringify(String(rewrite.processSync(text))));
}
JS
seen=$(node run.mjs)
echo 'software: uniorg-parse 3.2.2, uniorg-stringify 1.4.0'
echo 'expected: the same text on both sides, but for the number that [@5] makes up for'
echo 'seen:'
echo "$seen"
if [[ $seen == *'"5. [@5] five\n6. six\n" -> "5. 5five\n6. six\n"'* &&
	$seen == *'src_sh{date} here\n" -> "today is src_{sh}{date} here\n"'* ]]; then
	echo 'As described.'
else
	echo 'CHANGED: uniorg no longer behaves as described above.'
	exit 1
fi
