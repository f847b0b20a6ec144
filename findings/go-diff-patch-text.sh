#!/usr/bin/env bash
# Software: github.com/sergi/go-diff v1.4.0, a Go port of diff-match-patch; diff-match-patch 1.0.5
#   (npm), the JavaScript original.
# Expected: PatchToText writes what the other ports read: a patch made by a Go server applies in a
#   browser. The format is the same, and for English text it does.
# What happens: for text beyond ASCII, Go counts the patch's context in bytes and cuts inside a
#   character. The patch then begins with half a character (%81), which the JavaScript port refuses:
#   "Illegal escape in patch_fromText". In the same library DiffToDelta counts in code points, and
#   the JavaScript port in UTF-16 units, so that deltas do not fit either.
# Who meets it: a sync of notes with Go on one side and a browser or phone on the other.
# What to do: send whole texts or line hunks; or let one implementation make and apply patches.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts diff-match-patch@1.0.5
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/sergi/go-diff/diffmatchpatch"
)

func main() {
	dmp := diffmatchpatch.New()
	fmt.Print(dmp.PatchToText(dmp.PatchMake(os.Args[1], os.Args[2])))
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/sergi/go-diff@v1.4.0 >/dev/null 2>&1

cat >apply.js <<'JS'
const DiffMatchPatch = require('diff-match-patch')
const [text, patch] = process.argv.slice(2)
const dmp = new DiffMatchPatch()
try {
  console.log(dmp.patch_apply(dmp.patch_fromText(patch), text)[0])
} catch (e) {
  console.log('refused: ' + e.message.split(':')[0])
}
JS
english=$(node apply.js 'my name is field.' "$(go run . 'my name is field.' 'my name is fielder.')")
patch=$(go run . '名前は野原です。' '名前は野原家です。')
japanese=$(node apply.js '名前は野原です。' "$patch")

echo 'software: go-diff v1.4.0, diff-match-patch 1.0.5'
echo 'expected: my name is fielder. / 名前は野原家です。'
echo "seen:     $english / $japanese"
echo "the patch that Go wrote:"
echo "$patch"
if [[ $english == 'my name is fielder.' && $japanese == 'refused: Illegal escape in patch_fromText' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the two ports no longer disagree as described above.'
	exit 1
fi
