#!/usr/bin/env bash
# Software: github.com/klauspost/compress v1.20.3 (Go), on the editor of @codemirror/view 6.43.15 (npm).
# Expected: Zstandard at SpeedBetterCompression, which the package describes as about level 7 to 8 of
#   zstd, makes JavaScript smaller than gzip -9, so a server that stores both prefers Zstandard.
# What happens: it is larger than gzip's. Only SpeedBestCompression is smaller than gzip -9.
# Who meets it: servers that compress a web app's files once, when it is built, and send the
#   Zstandard variant to all browsers that accept it: those load more bytes than older ones.
# What to do: compress such files at SpeedBestCompression, and keep a variant only if it is smaller.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"

	"github.com/klauspost/compress/zstd"
)

func main() {
	text, err := os.ReadFile("node_modules/@codemirror/view/dist/index.js")
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	gz, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	gz.Write(text)
	gz.Close()
	zipped := out.Len()
	for _, level := range []zstd.EncoderLevel{zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression} {
		encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level))
		if err != nil {
			panic(err)
		}
		size := len(encoder.EncodeAll(text, nil))
		fmt.Printf("%v: smaller than gzip -9: %t (%d and %d bytes)\n", level, size < zipped, size, zipped)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/klauspost/compress@v1.20.3 >/dev/null 2>&1
npm install --silent --no-save @codemirror/view@6.43.15 >/dev/null 2>&1
seen=$(go run .)
echo 'software: klauspost/compress v1.20.3, @codemirror/view 6.43.15'
echo 'expected: better: smaller than gzip -9: true'
echo 'seen:'
echo "$seen"
if [[ $(cut -d'(' -f1 <<<"$seen") == 'default: smaller than gzip -9: false 
better: smaller than gzip -9: false 
best: smaller than gzip -9: true ' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the levels no longer compare as described above.'
	exit 1
fi
