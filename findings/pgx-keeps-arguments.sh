#!/usr/bin/env bash
# Software: github.com/jackc/pgx/v5 v5.12.0 (Go), with PostgreSQL 15 of Debian 12.
# Expected: once a statement has been answered, the connection has let go of its arguments. pgx cuts its buffers back
#   after each statement, with the comment that their memory may then be collected.
# What happens: the list of arguments is cut to no elements, but the elements stay behind its end, and each still holds
#   the value. A connection that has sent 32 MiB keeps it, idle or at work, until a statement with as many
#   arguments takes its place. Statements with fewer arguments, and several collections, change nothing.
# Who meets it: a server with a pool of connections, through which large texts or files are written now and then. Each idle
#   connection may hold one, and no profile names a variable of the program's own.
# What to do: after a large statement send one that has as many arguments, all NULL, or close the connection.
set -euo pipefail
dir=$(mktemp -d)
bin=$(ls -d /usr/lib/postgresql/15/bin)
as() { if [[ $(id -u) -eq 0 ]]; then runuser -u postgres -- "$@"; else "$@"; fi; }
trap 'as "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT
chmod 755 "$dir"
mkdir "$dir/data" "$dir/socket"
if [[ $(id -u) -eq 0 ]]; then chown postgres "$dir/data" "$dir/socket"; fi
as "$bin/initdb" -D "$dir/data" -A trust -U postgres >/dev/null
as "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/socket/log" -o "-c listen_addresses='' -k $dir/socket" start >/dev/null
mkdir "$dir/go"
cd "$dir/go"

cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
)

const size = 32 << 20

func alive() string {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > size/2 {
		return "kept"
	}
	return "let go"
}

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "host="+os.Args[1]+" user=postgres dbname=postgres")
	if err != nil {
		panic(err)
	}
	ask := func(sql string, args ...any) {
		if _, err := conn.Exec(ctx, sql, args...); err != nil {
			panic(err)
		}
	}
	ask("SELECT 1")
	fmt.Println("before:", alive())
	ask("SELECT length($1::text), length($2::text)", "short", strings.Repeat("x", size))
	fmt.Println("after a large second argument:", alive())
	for range 100 {
		ask("SELECT length($1::text)", "short")
	}
	fmt.Println("after a hundred statements with one argument:", alive())
	ask("SELECT $1::text, $2::text", nil, nil)
	fmt.Println("after one with two arguments:", alive())
	runtime.KeepAlive(conn)
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/jackc/pgx/v5@v5.12.0 >/dev/null 2>&1
seen=$(go run . "$dir/socket")

echo 'software: pgx v5.12.0'
echo 'expected: let go in each line'
echo 'seen:'
echo "$seen"
if [[ $seen == 'before: let go
after a large second argument: kept
after a hundred statements with one argument: kept
after one with two arguments: let go' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: pgx no longer behaves as described above.'
	exit 1
fi
