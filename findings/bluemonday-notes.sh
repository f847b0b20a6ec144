#!/usr/bin/env bash
# Software: microcosm-cc/bluemonday v1.0.27, UGCPolicy, on what goldmark v1.8.7 renders (Go).
# Expected: the policy for user-generated content leaves harmless Markdown as it was rendered.
# What happens: a list that begins at 3 begins at 1, since <ol> may not have start (<li value>
#   may). The text of a picture is dropped whole when it holds a sign that is not in the policy's
#   list, as % or | or &, so that screen readers and broken pictures have nothing. A check box is
#   dropped: done and open look the same.
# Who meets it: servers that render notes and sanitise them as the README shows: "as in step 3"
#   points to another step.
# What to do: AllowAttrs("start").Matching(bluemonday.Integer).OnElements("ol"), AllowAttrs("alt")
#   without a pattern on img (the value is escaped all the same), and AllowAttrs("type",
#   "checked", "disabled") on input.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
)

func main() {
	markdown := goldmark.New(goldmark.WithExtensions(extension.GFM))
	ugc, own := bluemonday.UGCPolicy(), bluemonday.UGCPolicy()
	own.AllowAttrs("start").Matching(bluemonday.Integer).OnElements("ol")
	own.AllowAttrs("alt").OnElements("img")
	own.AllowAttrs("type", "checked", "disabled").OnElements("input")
	for _, note := range []string{"3. Paint it.", "![50% done](plan.png)", "- [x] paid"} {
		var html bytes.Buffer
		if err := markdown.Convert([]byte(note), &html); err != nil {
			panic(err)
		}
		for name, policy := range map[string]*bluemonday.Policy{"UGC": ugc, "own": own} {
			fmt.Println(name, strings.ReplaceAll(policy.Sanitize(html.String()), "\n", ""))
		}
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/microcosm-cc/bluemonday@v1.0.27 github.com/yuin/goldmark@v1.8.7 >/dev/null 2>&1
seen=$(go run . | sort)

echo 'software: bluemonday v1.0.27, goldmark v1.8.7'
echo 'expected: start="3", alt="50% done" and a check box, with UGC as with the own policy'
echo 'seen:'
echo "$seen"
if [[ $seen == 'UGC <ol><li>Paint it.</li></ol>
UGC <p><img src="plan.png"></p>
UGC <ul><li> paid</li></ul>
own <ol start="3"><li>Paint it.</li></ol>
own <p><img src="plan.png" alt="50% done"></p>
own <ul><li><input checked="" disabled="" type="checkbox"> paid</li></ul>' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: bluemonday no longer behaves as described above.'
	exit 1
fi
