#!/usr/bin/env bash
# Software: github.com/pmezard/go-difflib v1.0.0 and github.com/hexops/gotextdiff v1.0.3 (Go), read
#   by GNU patch 2.7.6; github.com/aymanbagabas/go-udiff v0.4.1 for comparison.
# Expected: a unified diff of two texts makes the second of the first, by patch or git apply.
# What happens: go-difflib has no mark for a missing final newline, and SplitLines counts one empty
#   line after each final newline: a line added to a note without one gains a newline, a newline
#   added becomes two, and a blank line taken from the end is refused as "reversed". gotextdiff
#   writes "@@ -1 +1 @@" for an empty text, which patch calls malformed. go-udiff is right in the
#   four cases.
# Who meets it: histories and exports that store or mail diffs of notes; notes start empty, and
#   often end without a newline.
# What to do: take go-udiff, and test a library by applying what it writes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
command -v patch >/dev/null || apt-get install -y -qq --no-install-recommends patch >/dev/null

cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/hexops/gotextdiff"
	"github.com/hexops/gotextdiff/myers"
	"github.com/hexops/gotextdiff/span"
	"github.com/pmezard/go-difflib/difflib"
)

func patched(text, diff string) string {
	os.WriteFile("note", []byte(text), 0o644)
	cmd := exec.Command("patch", "--silent", "--forward", "note")
	cmd.Stdin = strings.NewReader(diff)
	if cmd.Run() != nil {
		return "refused"
	}
	b, _ := os.ReadFile("note")
	return fmt.Sprintf("%q", b)
}

func main() {
	for _, pair := range [][2]string{
		{"milk", "milk\neggs"}, {"milk", "milk\n"}, {"milk\n\n", "milk\n"}, {"", "milk\n"},
	} {
		a, b := pair[0], pair[1]
		first, _ := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
			A: difflib.SplitLines(a), B: difflib.SplitLines(b), FromFile: "note", ToFile: "note", Context: 3})
		second := gotextdiff.ToUnified("note", "note", a, myers.ComputeEdits(span.URIFromPath("note"), a, b))
		fmt.Printf("%q: difflib %s, gotextdiff %s, udiff %s\n", b,
			patched(a, first), patched(a, fmt.Sprint(second)), patched(a, udiff.Unified("note", "note", a, b)))
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/pmezard/go-difflib/difflib@v1.0.0 github.com/hexops/gotextdiff@v1.0.3 \
	github.com/aymanbagabas/go-udiff@v0.4.1 >/dev/null 2>&1
seen=$(go run .)

echo "software: go-difflib v1.0.0, gotextdiff v1.0.3, go-udiff v0.4.1, $(patch --version | head -1)"
echo 'expected: the text before the colon three times in each line'
echo 'seen:'
echo "$seen"
if [[ $seen == '"milk\neggs": difflib "milk\neggs\n", gotextdiff "milk\neggs", udiff "milk\neggs"
"milk\n": difflib "milk\n\n", gotextdiff "milk\n", udiff "milk\n"
"milk\n": difflib refused, gotextdiff "milk\n", udiff "milk\n"
"milk\n": difflib "milk\n", gotextdiff refused, udiff "milk\n"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the libraries no longer behaves as described above.'
	exit 1
fi
