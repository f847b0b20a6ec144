#!/usr/bin/env bash
# Software: github.com/jackc/pgx/v5 v5.12.0 (Go).
# Expected: pgx takes a postgres:// URL apart as net/url does: the last @ ends user and password, as it does in Redis
#   clients for Go, and a program that has looked at the URL with net/url knows which host pgx will call.
# What happens: the first @ ends the password. The rest of it is taken for the beginning of the host's name, without an
#   error; connecting fails, and the error names that host, and so the end of the password.
# Who meets it: a program that checks its URL with net/url, or hides the password by it, and logs pgx's errors.
# What to do: give pgx the URL after url.Parse and String, which writes the other @ as %40.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
)

func main() {
	const text = "postgres://ada:p@ss@db/notes"
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	password, _ := u.User.Password()
	fmt.Println("net/url:", u.Host, password)
	for _, text := range []string{text, u.String()} {
		c, err := pgx.ParseConfig(text)
		if err != nil {
			panic(err)
		}
		fmt.Println("pgx:", c.Host, c.Password)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/jackc/pgx/v5@v5.12.0 >/dev/null 2>&1
seen=$(env -u PGHOST -u PGPASSWORD go run .)

echo 'software: pgx v5.12.0'
echo 'expected: db p@ss in each line'
echo 'seen:'
echo "$seen"
if [[ $seen == 'net/url: db p@ss
pgx: ss@db p
pgx: db p@ss' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: pgx no longer behaves as described above.'
	exit 1
fi
