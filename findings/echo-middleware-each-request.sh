#!/usr/bin/env bash
# Software: github.com/labstack/echo/v4 v4.16.0 (Go).
# Expected: the outer function of a middleware, func(next) echo.HandlerFunc, runs once, when the
#   middleware is registered, as with wrappers of net/http. Only the inner one runs for a request.
# What happens: the outer function never runs at registration. It runs for each request, whether the
#   middleware was given to Pre, Use, Group or a route.
# Who meets it: servers that prepare something there (patterns, tables, buffers, counters): it is
#   made anew for every request, which costs allocations, and counts begin at 0 each time.
# What to do: prepare outside of the middleware, and close over it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"net/http/httptest"

	"github.com/labstack/echo/v4"
)

func main() {
	outer := map[string]int{}
	counted := func(name string) echo.MiddlewareFunc {
		return func(next echo.HandlerFunc) echo.HandlerFunc {
			outer[name]++
			return next
		}
	}
	e := echo.New()
	e.Pre(counted("Pre"))
	e.Use(counted("Use"))
	e.Group("/g", counted("Group")).GET("/x", func(c echo.Context) error { return c.NoContent(204) }, counted("route"))
	before := fmt.Sprint(outer)
	for range 10 {
		e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/g/x", nil))
	}
	fmt.Println("before:", before)
	fmt.Println("after ten requests:", outer)
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/labstack/echo/v4@v4.16.0 >/dev/null 2>&1
seen=$(go run .)
echo 'software: labstack/echo v4.16.0'
echo 'expected: each counted 1 before the first request, and 1 after ten'
echo 'seen:'
echo "$seen"
if [[ $seen == 'before: map[]
after ten requests: map[Group:10 Pre:10 Use:10 route:10]' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: echo no longer behaves as described above.'
	exit 1
fi
