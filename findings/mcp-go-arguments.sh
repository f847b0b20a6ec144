#!/usr/bin/env bash
# Software: github.com/mark3labs/mcp-go v1.2.1 (Go).
# Expected: a tool whose schema says that `title` is a required string is not called without one, or
#   GetString reports the wrong type.
# What happens: the schema is sent to the model and not looked at again. GetString gives its default
#   for a missing title and for a number alike, GetStringSlice drops what is no string from a list
#   and gives its default for a text. Models do send title: 2024 and tags: "a, b".
# Who meets it: a tool that writes: create_note with the title 2024 makes a note called by the
#   default, and an update with tags ["home", 2024] takes a tag away. The answer is a success.
# What to do: use the Require… methods, which return an error, or
#   server.WithInputSchemaValidation(); accept numbers where a text is meant.
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

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

func main() {
	s := server.NewMCPServer("notes", "1")
	tool := mcp.NewTool("create",
		mcp.WithString("title", mcp.Required()), mcp.WithArray("tags", mcp.WithStringItems()))
	s.AddTool(tool, func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(fmt.Sprintf("title %q, tags %q",
			r.GetString("title", "default"), r.GetStringSlice("tags", nil))), nil
	})
	for _, arguments := range []string{
		`{}`, `{"title": 2024}`, `{"title": "x", "tags": ["home", 2024]}`, `{"title": "x", "tags": "home, work"}`,
	} {
		answer := s.HandleMessage(context.Background(), json.RawMessage(
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create","arguments":`+arguments+`}}`))
		result, ok := answer.(mcp.JSONRPCResponse)
		if !ok {
			fmt.Println(arguments, "-> refused")
			continue
		}
		call := result.Result.(*mcp.CallToolResult)
		fmt.Println(arguments, "->", call.Content[0].(mcp.TextContent).Text, call.IsError)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/mark3labs/mcp-go@v1.2.1 github.com/mark3labs/mcp-go/server@v1.2.1 >/dev/null 2>&1
seen=$(go run .)

echo 'software: mark3labs/mcp-go v1.2.1'
echo 'expected: four refusals or errors'
echo 'seen (arguments -> what the tool got, is it an error):'
echo "$seen"
if [[ $seen == '{} -> title "default", tags [] false
{"title": 2024} -> title "default", tags [] false
{"title": "x", "tags": ["home", 2024]} -> title "x", tags ["home"] false
{"title": "x", "tags": "home, work"} -> title "x", tags [] false' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: mcp-go no longer behaves as described above.'
	exit 1
fi
