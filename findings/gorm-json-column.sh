#!/usr/bin/env bash
# Software: gorm.io/gorm v1.31.2, here with glebarez/sqlite v1.11.0 (Go).
# Expected: Update("tags", []string{"red"}) on a field with serializer:json stores ["red"], as
#   Create does, or returns an error.
# What happens: a slice in Update, or in the map of Updates, is spread into a list of SQL values
#   without the serializer. One tag is stored as the bare text red, no tag as NULL, two tags are
#   an SQL error. After the first, each Find that meets this note fails with "invalid character":
#   the whole list of notes does not load.
# Who meets it: notes with tags or settings in a JSON column; the one-tag case passes a test that
#   looks at the error of the update only.
# What to do: update with a struct, Select("tags").Updates(&Note{Tags: tags}), or give the column
#   a type of its own with Value and Scan.
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
	"gorm.io/gorm/logger"
)

type Note struct {
	ID   uint
	Tags []string `gorm:"serializer:json"`
}

func main() {
	db, err := gorm.Open(sqlite.Open("notes.db"), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		panic(err)
	}
	if err := db.AutoMigrate(&Note{}); err != nil {
		panic(err)
	}
	db.Create(&Note{Tags: []string{"home"}})
	for _, tags := range [][]string{{"a", "b"}, {}, {"red"}} {
		updated := db.Model(&Note{ID: 1}).Update("tags", tags).Error
		var stored string
		db.Raw("SELECT coalesce(tags, 'NULL') FROM notes").Scan(&stored)
		var notes []Note
		found := db.Find(&notes).Error
		fmt.Printf("%q: update failed %v, stored %s, read failed %v\n", tags, updated != nil, stored, found != nil)
	}
	db.Select("tags").Updates(&Note{ID: 1, Tags: []string{"red"}})
	var note Note
	fmt.Printf("struct: %v %q\n", db.Take(&note).Error, note.Tags)
}
GO
go mod init finding >/dev/null 2>&1
go get gorm.io/gorm@v1.31.2 github.com/glebarez/sqlite@v1.11.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: gorm v1.31.2 with glebarez/sqlite v1.11.0'
echo 'expected: what was updated without an error can be read'
echo 'seen:'
echo "$seen"
if [[ $seen == '["a" "b"]: update failed true, stored ["home"], read failed false
[]: update failed false, stored NULL, read failed false
["red"]: update failed false, stored red, read failed true
struct: <nil> ["red"]' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: gorm no longer behaves as described above.'
	exit 1
fi
