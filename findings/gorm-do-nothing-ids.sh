#!/usr/bin/env bash
# Software: gorm.io/gorm v1.31.2, here with glebarez/sqlite v1.11.0 (Go).
# Expected: after Create of three notes under OnConflict{DoNothing: true}, the first and the third
#   know their ids, and the second, which was there before, keeps 0.
# What happens: the database returns the ids of the rows that it has inserted, and gorm hands them
#   out from the front. The second note gets the id of the third, and the third gets 0. No error
#   is returned, RowsAffected is 2.
# Who meets it: an import that passes over what is there, and then stores tags, attachments or
#   versions under the ids: they end up on another note.
# What to do: do not use the ids after DoNothing. Make the ids before (UUIDs), or read the notes
#   back by their unique key.
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
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
)

type Note struct {
	ID   uint
	Slug string `gorm:"uniqueIndex"`
}

func main() {
	db, err := gorm.Open(sqlite.Open("notes.db"), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		panic(err)
	}
	if err := db.AutoMigrate(&Note{}); err != nil {
		panic(err)
	}
	db.Create(&Note{Slug: "budget"})
	notes := []Note{{Slug: "agenda"}, {Slug: "budget"}, {Slug: "calls"}}
	result := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&notes)
	fmt.Println("given: ", notes, result.RowsAffected, result.Error)
	var stored []Note
	db.Order("slug").Find(&stored)
	fmt.Println("stored:", stored)
}
GO
go mod init finding >/dev/null 2>&1
go get gorm.io/gorm@v1.31.2 github.com/glebarez/sqlite@v1.11.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: gorm v1.31.2 with glebarez/sqlite v1.11.0'
echo 'expected: an id that was given to a note is the id of this note'
echo 'seen:'
echo "$seen"
if [[ $seen == 'given:  [{2 agenda} {4 budget} {0 calls}] 2 <nil>
stored: [{2 agenda} {1 budget} {4 calls}]' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: gorm no longer behaves as described above.'
	exit 1
fi
