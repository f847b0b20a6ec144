#!/usr/bin/env bash
# Software: gorm.io/gorm v1.31.2, here with glebarez/sqlite v1.11.0 (Go).
# Expected: Where("rev = ?", 1).Save(&note) stores the note if it is still at revision 1, and else
#   answers RowsAffected 0.
# What happens: Save sends the UPDATE with the condition. If it meets no row, Save sends an INSERT
#   that overwrites the row on conflict, without the condition. RowsAffected is 1: the newer text
#   is gone and the caller is told that the save was fine. With Model(...) before it the same.
# Who meets it: servers with a revision or a version column against lost updates, and those that
#   guard by owner: Where("user_id = ?", me).Save(&note).
# What to do: Select("*").Updates(&note), which has no second step and answers 0, or an UPDATE by
#   hand.
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
	Text string
	Rev  int
}

func main() {
	db, err := gorm.Open(sqlite.Open("notes.db"), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		panic(err)
	}
	if err := db.AutoMigrate(&Note{}); err != nil {
		panic(err)
	}
	save := func(name string, store func(*Note) *gorm.DB) {
		db.Exec("DELETE FROM notes")
		db.Create(&Note{ID: 7, Text: "newer", Rev: 2})
		result := store(&Note{ID: 7, Text: "older", Rev: 2})
		var now Note
		db.First(&now, 7)
		fmt.Println(name, result.RowsAffected, result.Error, now.Text)
	}
	save("Save:   ", func(n *Note) *gorm.DB { return db.Where("rev = ?", 1).Save(n) })
	save("Updates:", func(n *Note) *gorm.DB { return db.Where("rev = ?", 1).Select("*").Updates(n) })
}
GO
go mod init finding >/dev/null 2>&1
go get gorm.io/gorm@v1.31.2 github.com/glebarez/sqlite@v1.11.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: gorm v1.31.2 with glebarez/sqlite v1.11.0'
echo 'expected: 0 rows, and the newer text stays, twice'
echo 'seen (rows, error, text that is stored now):'
echo "$seen"
if [[ $seen == 'Save:    1 <nil> older
Updates: 0 <nil> newer' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: gorm no longer behaves as described above.'
	exit 1
fi
