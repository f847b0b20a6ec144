#!/usr/bin/env bash
# Software: github.com/alicebob/miniredis/v2 v2.40.0 (Go) beside Redis 7.0.15 (Debian 12).
# Expected: a Lua script gives the same in the test's Redis and in the real one.
# What happens: real Redis has Lua 5.1 in C, which makes text of a number with 14 digits. A time in
#   microseconds has 16: joined to a text, or by tostring or cjson.encode, 1700000000123456 becomes
#   1.7000000001235e+15, up to 50 µs off. miniredis keeps all digits. A number given to redis.call
#   is whole in both, but a fraction is not: 0.1 is stored as 0.10000000000000001 by real Redis
#   only.
# Who meets it: a rate limiter or a lease in Lua that is tested on miniredis: members of a sorted
#   set named by a time collide, and comparisons of stored texts fail, in production only.
# What to do: string.format("%.0f", n) for times; run scripts against a real redis-server in tests.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill "$(cat "$dir/pid" 2>/dev/null)" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
command -v redis-server >/dev/null || apt-get install -y -qq --no-install-recommends redis-server >/dev/null

redis-server --port 0 --unixsocket "$dir/redis.sock" --save '' --daemonize yes --pidfile "$dir/pid" \
	--dir "$dir" --logfile "$dir/log" >/dev/null
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"
)

func main() {
	mini, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer mini.Close()
	fake, err := redis.Dial("tcp", mini.Addr())
	if err != nil {
		panic(err)
	}
	real, err := redis.Dial("unix", os.Args[1])
	if err != nil {
		panic(err)
	}
	for _, script := range []string{
		`return "lease:" .. 1700000000123456`,
		`return cjson.encode({at = 1700000000123456})`,
		`redis.call("SET", "rate", 0.1) return redis.call("GET", "rate")`,
		`return string.format("%.0f", 1700000000123456)`,
	} {
		a, err := redis.String(fake.Do("EVAL", script, 0))
		if err != nil {
			panic(err)
		}
		b, err := redis.String(real.Do("EVAL", script, 0))
		if err != nil {
			panic(err)
		}
		fmt.Println("miniredis", a, "Redis", b)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/alicebob/miniredis/v2@v2.40.0 github.com/gomodule/redigo@v1.9.3 >/dev/null 2>&1
for _ in $(seq 50); do [[ -S $dir/redis.sock ]] && break; sleep 0.1; done
seen=$(go run . "$dir/redis.sock")

echo "software: miniredis v2.40.0, $(redis-server --version | cut -d' ' -f1-3)"
echo 'expected: the same text twice in each line'
echo 'seen:'
echo "$seen"
if [[ $seen == 'miniredis lease:1700000000123456 Redis lease:1.7000000001235e+15
miniredis {"at":1700000000123456} Redis {"at":1.7000000001235e+15}
miniredis 0.1 Redis 0.10000000000000001
miniredis 1700000000123456 Redis 1700000000123456' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the two no longer differ as described above.'
	exit 1
fi
