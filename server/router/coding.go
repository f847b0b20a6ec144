package router

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net/http"
	"strings"
)

var (
	bodyCodings    = map[string]func(io.Reader) (io.Reader, error){"gzip": gunzip, "x-gzip": gunzip, "deflate": inflate}
	acceptedCoding = "gzip, deflate" // the codings for Accept-Encoding (RFC 9110, 15.5.16)
)

func gunzip(r io.Reader) (io.Reader, error)  { return gzip.NewReader(r) }
func inflate(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }

// bodyCoding returns the request's content coding in lower case, or "" if there is none.
func bodyCoding(h http.Header) (string, error) {
	coding := strings.ToLower(strings.TrimSpace(strings.Join(h["Content-Encoding"], ",")))
	if coding == "" || coding == "identity" {
		return "", nil
	}
	if bodyCodings[coding] == nil {
		return "", errBodyCoding
	}
	return coding, nil
}

// decode decompresses body. The request holds its permit of the pool meanwhile, because this takes
// CPU time: a few kilobytes can become as much as BODY_PARSER_LIMIT allows, and never more. Memory
// is reserved as the text grows.
func (c *Context) decode(coding string, body []byte) ([]byte, error) {
	limit, in := c.rt.bodyLimit(c.route), bytes.NewReader(body)
	out, err := bodyCodings[coding](in)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadCoding, err)
	}
	text, err := readAll(io.LimitReader(out, limit+1), -1,
		func(size int64) error { return c.reserve(size, bodyOverhead) })
	switch {
	case int64(len(text)) > limit:
		return nil, errBodyTooLarge
	case isRejection(err):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errBadCoding, err)
	case in.Len() > 0:
		return nil, fmt.Errorf("%w: more follows its end", errBadCoding)
	}
	c.Hold(max(0, len(text)-int(c.held)))
	return text, nil
}
