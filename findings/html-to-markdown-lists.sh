#!/usr/bin/env bash
# Software: github.com/JohannesKaufmann/html-to-markdown/v2 v2.5.2 (Go), default options.
# Expected: two lists behind each other become two lists; the tenth item of a list is "10.".
# What happens: between the lists stands <!--THE END-->, a line that nobody wrote. In a list of ten
#   and more the numbers get a leading zero: 01. to 09. Both are right for a Markdown reader, but in
#   a notes app people read and search the source.
# Who meets it: importers of ENEX and HTML. Each checklist that is followed by another gets the
#   line.
# What to do: commonmark.WithListEndComment(false) takes the comment away, and the two lists then
#   become one; for the numbers there is no option.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"strings"

	htmltomarkdown "github.com/JohannesKaufmann/html-to-markdown/v2"
)

func main() {
	lists, _ := htmltomarkdown.ConvertString("<ul><li>bread</li></ul><ul><li>nails</li></ul>")
	ten, _ := htmltomarkdown.ConvertString("<ol>" + strings.Repeat("<li>x</li>", 10) + "</ol>")
	fmt.Printf("%q\n%q\n", lists, ten)
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/JohannesKaufmann/html-to-markdown/v2@v2.5.2 >/dev/null 2>&1
seen=$(go run .)

echo 'software: html-to-markdown v2.5.2'
echo 'expected: no text that is not in the page; items 1. to 10.'
echo 'seen:'
echo "$seen"
if [[ $seen == '"- bread\n\n<!--THE END-->\n\n- nails"
"01. x\n02. x\n03. x\n04. x\n05. x\n06. x\n07. x\n08. x\n09. x\n10. x"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: html-to-markdown no longer behaves as described above.'
	exit 1
fi
