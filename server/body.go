package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	largeBody = 64 << 10 // above it, memory is reserved before a body, note or part of a list is read:

	// so many times its size, for all that is allocated until the answer is
	// there, garbage too, by Go (see TestCopies) and by SQLite (one to four).
	bodyCopies = 10
	readCopies = 8

	discardBytes = 16 << 20 // of a body that nobody reads, so that the client gets to read the answer
	discardTime  = 2 * time.Second
)

var (
	errBodyTooLarge = errors.New("request body too large")
	errMalformed    = errors.New("malformed JSON")
	errSlowBody     = errors.New("request body came too slowly")
)

// readBody reads the request's body, outside the turn: a client that sends it
// slowly, or never, holds no worker. It is read at the least rate or not at all.
func (s *Server) readBody(x *exchange) ([]byte, error) {
	r := x.Request()
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	length := r.ContentLength
	if length < 0 {
		length = s.cfg.BodyLimit
	}
	if err := s.reserve(x, length, bodyCopies); err != nil {
		return nil, err
	}
	var body []byte
	err := s.outside(x, func() (err error) {
		body, err = s.receive(x, r)
		return err
	})
	return body, err
}

// reserve sets memory aside, until the exchange ends, for what is made of length
// bytes, if that is much.
func (s *Server) reserve(x *exchange, length, copies int64) error {
	if length <= largeBody {
		return nil
	}
	return s.reserveBytes(x, length*copies)
}

// reserveBytes sets bytes aside until the exchange ends, with those that are.
func (s *Server) reserveBytes(x *exchange, bytes int64) error {
	more := bytes - x.reserved
	if more <= 0 {
		return nil
	}
	if err := s.pool.Reserve(x.asked, more); err != nil {
		return err
	}
	x.reserved += more
	return nil
}

// receive reads at most BODY_PARSER_LIMIT bytes. Memory grows with what has
// arrived, never with what Content-Length promises.
func (s *Server) receive(x *exchange, r *http.Request) ([]byte, error) {
	allowed := sendGrace + time.Duration(max(r.ContentLength, 0)/leastRate)*time.Second
	_ = x.out.ctrl.SetReadDeadline(time.Now().Add(allowed))
	defer func() { _ = x.out.ctrl.SetReadDeadline(time.Time{}) }()

	body, err := readAll(io.LimitReader(r.Body, s.cfg.BodyLimit+1), r.ContentLength)
	s.hold(x, len(body))
	switch {
	case int64(len(body)) > s.cfg.BodyLimit:
		return nil, errBodyTooLarge
	case err == nil:
		x.received = true
		return body, nil
	case isTimeout(err):
		x.late = true
		return nil, errSlowBody
	case r.Context().Err() != nil:
		return nil, r.Context().Err()
	default: // a length that does not hold, a bad chunk
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
}

// readAll is io.ReadAll for a length that was promised, or -1: it ends in a
// buffer of that length, without ever having made one of more than four times
// what had come.
func readAll(r io.Reader, promised int64) ([]byte, error) {
	const first = 64 << 10
	size := int64(first)
	if promised >= 0 {
		size = min(promised, first)
	}
	body := make([]byte, 0, size+1) // a byte more, to see the end
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, nil
		case err != nil:
			return body, err
		case len(body) < cap(body):
			continue
		}
		size = 2 * int64(len(body))
		if int64(len(body)) < promised && promised <= 2*size {
			size = promised
		}
		body = append(make([]byte, 0, size+1), body...)
	}
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// discard reads on for a while what was not read before the answer: a client
// that is still sending would otherwise meet a reset before it reads that. One
// that waits for "100 Continue" has sent nothing and is not asked to. deliver
// has set the time.
func (x *exchange) discard() {
	if x.Request().Header.Get("Expect") != "" {
		return
	}
	_ = x.out.ctrl.Flush()
	_, _ = io.CopyN(io.Discard, x.Request().Body, discardBytes)
}

// object is a JSON object: its members as they were sent, under the exact
// names. encoding/json would match names in any case and replace what is not
// Unicode; both are refused here.
type object map[string]member

// A member's JSON text. It is a part of the body, not a copy: of what is large,
// each is one too many, and nobody writes to a body that was read.
type member []byte

// UnmarshalJSON implements json.Unmarshaler.
func (m *member) UnmarshalJSON(text []byte) error {
	*m = text
	return nil
}

// readObject reads the body as a JSON object. A body of another kind, or
// anything but JSON in it, is an empty object, as the old server had it.
func (s *Server) readObject(x *exchange) (object, error) {
	body, err := s.readBody(x)
	if err != nil {
		return nil, err
	}
	x.body = body
	if !isJSON(x.Request().Header.Get("Content-Type")) {
		return object{}, nil
	}
	return parseObject(body)
}

func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}

func parseObject(body []byte) (object, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return object{}, nil
	}
	if !utf8.Valid(body) || hasLoneSurrogate(body) {
		return nil, errMalformed
	}
	if body[0] == '[' && json.Valid(body) { // JSON, but no object: it lacks every member
		return object{}, nil
	}
	var o object
	if err := json.Unmarshal(body, &o); err != nil || o == nil {
		return nil, errMalformed
	}
	return o, nil
}

// hasLoneSurrogate tells whether an escape in the JSON text names half a
// surrogate pair (RFC 8259, section 8.2): no Unicode text, and encoding/json
// would silently store U+FFFD for it.
func hasLoneSurrogate(body []byte) bool {
	for {
		i := bytes.IndexByte(body, '\\')
		if i < 0 || i+1 >= len(body) {
			return false
		}
		body = body[i:]
		if body[1] != 'u' {
			body = body[2:]
			continue
		}
		first, ok := escaped(body)
		if !ok {
			return false // not JSON; the parser says so
		}
		body = body[6:]
		switch {
		case first >= 0xDC00 && first <= 0xDFFF:
			return true
		case first >= 0xD800 && first <= 0xDBFF:
			second, ok := escaped(body)
			if !ok || second < 0xDC00 || second > 0xDFFF {
				return true
			}
			body = body[6:]
		}
	}
}

// escaped reads the \uXXXX that b begins with.
func escaped(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// text is the string member name. ok is false when it is missing or no string.
func (o object) text(name string) (s string, ok bool) {
	raw := o[name]
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// flag is the boolean member name; ok is false when it is there and no boolean.
func (o object) flag(name string) (value, ok bool) {
	switch string(o[name]) {
	case "true":
		return true, true
	case "false", "":
		return false, true
	}
	return false, false
}

// stringList reads a JSON array of strings; null in place of one is none.
func stringList(raw member) ([]string, bool) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, false
	}
	var items []*string
	if json.Unmarshal(raw, &items) != nil {
		return nil, false
	}
	list := make([]string, len(items))
	for i, item := range items {
		if item == nil {
			return nil, false
		}
		list[i] = *item
	}
	return list, true
}
