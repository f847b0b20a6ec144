package main

import (
	"bytes"
	"path"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// packed returns the app's files as they are kept in dist: each in gzip and in zstd, pictures as they
// are. The compressors are those that go.mod pins, so that the bytes do not depend on Go's version.
func packed(web string) (map[string][]byte, error) {
	files, err := bundle(web)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for name, text := range files {
		if path.Ext(name) == ".png" {
			out[name] = text
			continue
		}
		out[name+".zst"] = z.EncodeAll(text, nil)
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(text); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		out[name+".gz"] = b.Bytes()
	}
	return out, nil
}
