#!/usr/bin/env bash
# Software: gorm.io/gorm v1.31.2 with github.com/glebarez/sqlite v1.11.0 (Go).
# Expected: a struct that embeds another, unexported, struct type is read with the exported fields of
#   both, as encoding/json does it, or is refused.
# What happens: the fields of the embedded struct stay zero, without an error, whichever columns were
#   selected. An exported type is read. So is a named field with the tag gorm:"embedded".
# Who meets it: stores that keep their row types unexported and embed one to read a few columns more,
#   such as a count: the rows come back, and half of each is empty.
# What to do: give the row a name and the tag: Row noteRow `gorm:"embedded"`.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"

	"github.com/glebarez/sqlite"
	"gorm.io/gorm"
)

type noteRow struct {
	ID    int
	Title string
}

type NoteRow noteRow

type unexported struct {
	noteRow
	Tags int
}

type exported struct {
	NoteRow
	Tags int
}

type named struct {
	Row  noteRow `gorm:"embedded"`
	Tags int
}

func main() {
	db, err := gorm.Open(sqlite.Open(":memory:"), &gorm.Config{})
	if err != nil {
		panic(err)
	}
	db.Exec("CREATE TABLE notes (id INTEGER, title TEXT, tags INTEGER)")
	db.Exec("INSERT INTO notes VALUES (7, 'Shopping', 3)")
	var u unexported
	err = db.Table("notes").Take(&u).Error
	fmt.Printf("unexported: %d %q %d, error %v\n", u.ID, u.Title, u.Tags, err)
	var e exported
	err = db.Table("notes").Take(&e).Error
	fmt.Printf("exported: %d %q %d, error %v\n", e.ID, e.Title, e.Tags, err)
	var n named
	err = db.Table("notes").Take(&n).Error
	fmt.Printf("named: %d %q %d, error %v\n", n.Row.ID, n.Row.Title, n.Tags, err)
}
GO
go mod init finding >/dev/null 2>&1
go get gorm.io/gorm@v1.31.2 github.com/glebarez/sqlite@v1.11.0 >/dev/null 2>&1
seen=$(go run .)
echo 'software: gorm v1.31.2, glebarez/sqlite v1.11.0'
echo 'expected: 7 "Shopping" 3 from each'
echo 'seen:'
echo "$seen"
if [[ $seen == 'unexported: 0 "" 3, error <nil>
exported: 7 "Shopping" 3, error <nil>
named: 7 "Shopping" 3, error <nil>' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: gorm no longer behaves as described above.'
	exit 1
fi
