#!/usr/bin/env bash
# Software: github.com/modelcontextprotocol/go-sdk v1.8.0 (Go).
# Expected: the arguments of a typed tool arrive as encoding/json would read them, and an output
#   struct that encoding/json can write is a valid output.
# What happens: the arguments go through a float64 on the way: an int64 above 2^53 arrives as
#   another number. A json.RawMessage in the output is described as an array of bytes in the schema
#   that is made for it, so that the SDK refuses the tool's own answer. And a method that the server
#   does not know is answered with HTTP 400 and plain text, not with JSON-RPC's error -32601.
# Who meets it: tools with large ids or with stored JSON in their answers; clients that probe
#   methods.
# What to do: pass large ids as text, use `any` for stored JSON, and treat 400 as "no such method".
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type in struct {
	ID int64 `json:"id"`
}
type out struct {
	ID    int64           `json:"id"`
	Extra json.RawMessage `json:"extra,omitempty"`
}

func main() {
	s := mcp.NewServer(&mcp.Implementation{Name: "notes", Version: "1"}, nil)
	read := func(_ context.Context, _ *mcp.CallToolRequest, i in) (*mcp.CallToolResult, out, error) {
		o := out{ID: i.ID}
		if i.ID == 1 {
			o.Extra = json.RawMessage(`{"a":1}`)
		}
		return nil, o, nil
	}
	mcp.AddTool(s, &mcp.Tool{Name: "read"}, read)
	server := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true}))
	defer server.Close()
	post := func(method, params string) (int, string) {
		req, _ := http.NewRequest(http.MethodPost, server.URL, strings.NewReader(
			`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	for _, id := range []string{"2", "9007199254740993", "1"} {
		_, body := post("tools/call", `{"name":"read","arguments":{"id":`+id+`}}`)
		var answer struct {
			Result struct {
				StructuredContent struct{ ID json.Number }
			}
			Error struct{ Message string }
		}
		json.Unmarshal([]byte(body), &answer)
		fmt.Println(id, "->", answer.Result.StructuredContent.ID, strings.Contains(body, "validating"))
	}
	status, body := post("notes/unknown", `{}`)
	fmt.Println("unknown method ->", status, json.Valid([]byte(body)))
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/modelcontextprotocol/go-sdk/mcp@v1.8.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: modelcontextprotocol/go-sdk v1.8.0'
echo 'expected: each id unchanged and valid; unknown method -> 200 true'
echo 'seen (id -> id in the answer, does validation fail; status, is the body JSON):'
echo "$seen"
if [[ $seen == '2 -> 2 false
9007199254740993 -> 9007199254740992 false
1 ->  true
unknown method -> 400 false' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the Go SDK no longer behaves as described above.'
	exit 1
fi
