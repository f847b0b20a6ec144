#!/usr/bin/env bash
# Software: github.com/r3labs/sse/v2 v2.10.0 and github.com/tmaxmax/go-sse v0.12.0, their clients
#   (Go).
# Expected: what the HTML standard says of an event stream: a block without data is no event; an
#   event cut off by the end is discarded; a client comes back when the server ends the stream.
# What happens: both hand over an event without data for a block that is only `retry:`, and r3labs
#   for each comment after the first id, with the id of the event before. r3labs also hands over the
#   cut event as if it were whole, and does not come back when the server closes the connection:
#   SubscribeWithContext returns nil.
# Who meets it: a Go client of a server that sends keep-alive comments and closes streams when it
#   drains.
# What to do: skip events without data, check that data is whole, and call r3labs'
#   SubscribeWithContext in a loop with a pause.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	r3labs "github.com/r3labs/sse/v2"
	tmaxmax "github.com/tmaxmax/go-sse"
)

func main() {
	var connections atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if connections.Add(1) > 1 {
			w.WriteHeader(http.StatusNoContent) // the standard's way to tell a client to stop
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "retry: 50\n\nid: 1\ndata: whole\n\n: keep-alive\n\ndata: half an ev")
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()

	var seen []string
	err := r3labs.NewClient(server.URL).SubscribeWithContext(ctx, "", func(e *r3labs.Event) {
		seen = append(seen, string(e.Data))
	})
	fmt.Printf("r3labs: %q, %d connection, error %v\n", seen, connections.Load(), err)

	connections.Store(0)
	seen = nil
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	connection := tmaxmax.NewConnection(request)
	connection.SubscribeToAll(func(e tmaxmax.Event) { seen = append(seen, e.Data) })
	err = connection.Connect()
	fmt.Printf("tmaxmax: %q, %d connections, error %t\n", seen, connections.Load(), err != nil)
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/r3labs/sse/v2@v2.10.0 github.com/tmaxmax/go-sse@v0.12.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: r3labs/sse v2.10.0, tmaxmax/go-sse v0.12.0'
echo 'expected: ["whole"] and 2 connections from both'
echo 'seen:'
echo "$seen"
if [[ $seen == 'r3labs: ["" "whole" "" "half an ev"], 1 connection, error <nil>
tmaxmax: ["" "whole"], 2 connections, error true' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the clients no longer behaves as described above.'
	exit 1
fi
