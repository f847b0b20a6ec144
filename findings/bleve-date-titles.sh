#!/usr/bin/env bash
# Software: github.com/blevesearch/bleve v2.6.3 (Go), the default index mapping.
# Expected: a note called "2024-01-15" is found by 2024-01-15, as the note "Call of 2024-01-15"
#   is.
# What happens: the default mapping looks at each text: one that is a date or a time by itself is
#   stored as a point in time and not as words. So daily notes are not found by their titles,
#   neither by match nor by phrase nor by prefix, and a search for the year 2024 has holes. Next
#   to other words the same date is found.
# Who meets it: search over daily notes, journals, and titles that importers make from dates.
# What to do: a mapping with NewTextFieldMapping for each field of text.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search/query"
)

type Note struct{ Title string }

func main() {
	text := bleve.NewIndexMapping()
	text.DefaultMapping.AddFieldMappingsAt("Title", bleve.NewTextFieldMapping())
	for _, m := range []struct {
		name    string
		mapping mapping.IndexMapping
	}{{"default", bleve.NewIndexMapping()}, {"text", text}} {
		index, err := bleve.NewMemOnly(m.mapping)
		if err != nil {
			panic(err)
		}
		for _, title := range []string{"2024-01-15", "Call of 2024-01-15"} {
			index.Index(title, Note{title})
		}
		for _, q := range []query.Query{
			bleve.NewMatchQuery("2024-01-15"), bleve.NewMatchPhraseQuery("2024-01-15"), bleve.NewPrefixQuery("2024"),
		} {
			request := bleve.NewSearchRequest(q)
			request.SortBy([]string{"_id"})
			result, err := index.Search(request)
			if err != nil {
				panic(err)
			}
			fmt.Printf("%s %T:", m.name, q)
			for _, hit := range result.Hits {
				fmt.Printf(" %q", hit.ID)
			}
			fmt.Println()
		}
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/blevesearch/bleve/v2@v2.6.3 >/dev/null 2>&1
seen=$(go run .)

echo 'software: bleve v2.6.3'
echo 'expected: both notes, six times'
echo 'seen (mapping, query: notes found):'
echo "$seen"
if [[ $seen == 'default *query.MatchQuery: "Call of 2024-01-15"
default *query.MatchPhraseQuery: "Call of 2024-01-15"
default *query.PrefixQuery: "Call of 2024-01-15"
text *query.MatchQuery: "2024-01-15" "Call of 2024-01-15"
text *query.MatchPhraseQuery: "2024-01-15" "Call of 2024-01-15"
text *query.PrefixQuery: "2024-01-15" "Call of 2024-01-15"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: bleve no longer behaves as described above.'
	exit 1
fi
