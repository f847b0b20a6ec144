#!/usr/bin/env bash
# Software: gorm.io/gorm v1.31.2, here with glebarez/sqlite v1.11.0 (Go).
# Expected: Order("title").FindInBatches hands out each note once, by title, or returns an error.
# What happens: each batch begins behind the primary key of the last row of the batch before. In
#   any other order this is no place in the order: notes are handed out twice and others never,
#   without an error. RowsAffected counts what was handed out.
# Who meets it: exports and mails "newest first" of more notes than a batch holds. A test with
#   fewer notes passes.
# What to do: no Order with FindInBatches. For another order use Rows() or a cursor over the
#   column and the key.
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
	ID    uint
	Title string
}

func main() {
	db, err := gorm.Open(sqlite.Open("notes.db"), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		panic(err)
	}
	if err := db.AutoMigrate(&Note{}); err != nil {
		panic(err)
	}
	for _, title := range []string{"g", "c", "a", "f", "b", "e", "d"} {
		db.Create(&Note{Title: title})
	}
	for _, order := range []string{"id", "title", "id desc"} {
		var batch []Note
		seen := ""
		result := db.Order(order).FindInBatches(&batch, 3, func(*gorm.DB, int) error {
			for _, note := range batch {
				seen += note.Title
			}
			return nil
		})
		fmt.Println(order+":", seen, result.RowsAffected, result.Error)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get gorm.io/gorm@v1.31.2 github.com/glebarez/sqlite@v1.11.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: gorm v1.31.2 with glebarez/sqlite v1.11.0'
echo 'expected: seven notes a to g, each once, in all three orders'
echo 'seen (order: titles, rows, error):'
echo "$seen"
if [[ $seen == 'id: gcafbed 7 <nil>
title: abcabd 6 <nil>
id desc: debde 5 <nil>' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: gorm no longer behaves as described above.'
	exit 1
fi
