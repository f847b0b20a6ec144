package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"notesd/pool"
	"notesd/server/listener"
)

const (
	// smallBody is the longest body of credentials or a web vital. A password of 1 KiB takes 6 KiB
	// if every byte is escaped.
	smallBody = 16 << 10
	// largeBody: above it, memory is reserved as a body arrives, and before a note or part of a
	// list is read.
	largeBody = 64 << 10

	// bodyCopies and readCopies are how many times its size is reserved for a large body or note.
	// That covers all that is allocated until the response is made, garbage included: by Go (see
	// TestCopies) and by SQLite (one to four times the size).
	bodyCopies   = 10
	readCopies   = 8
	arriveCopies = 2 // while a body arrives: only the buffers take memory

	// bodyPatience: a body is given up if none of it arrives for this time. The read deadline moves
	// by patienceStep at least, because setting it costs as much as a read.
	bodyPatience, patienceStep = 10 * time.Second, time.Second
	// chunkedRead is how many bytes of a chunked body must arrive within bodyPatience.
	chunkedRead = 4 << 10

	// discardBytes is how much of an unread body is discarded, so that the client gets to read the
	// response.
	discardBytes = 16 << 20
	discardTime  = 2 * time.Second
)

var (
	errBodyTooLarge = errors.New("request body too large")
	errMalformed    = errors.New("malformed JSON")
	errSlowBody     = errors.New("request body came too slowly")
)

// readArrived reads the request's body before admission, if the whole body has arrived with the
// header. Most bodies have. Such a request does not need to release its worker in order to read the
// body. If it is rejected, it leaves nothing unread.
func readArrived(x *exchange) (err error) {
	r := x.Request()
	if r.ContentLength <= 0 || listener.ConnOf(r).BodyArrived() < r.ContentLength || r.Header.Get("Expect") != "" {
		return nil
	}
	body := make([]byte, r.ContentLength) // at most the size of the connection's buffer
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	x.arrived, x.received = body, true
	return nil
}

// readBody reads the request's body without a worker (see outside). So a client that sends the body
// slowly, or never, holds no worker. The body must arrive at the minimum rate. A length that would
// not fit into memory is rejected at once. Memory is reserved only for bytes that have arrived, and
// not for the announced length.
func (s *Server) readBody(x *exchange) ([]byte, error) {
	r := x.Request()
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if x.arrived != nil {
		s.hold(x, len(x.arrived))
		return x.arrived, nil
	}
	if r.ContentLength > largeBody {
		if err := s.pool.Fits(&x.memory, x.reserver(), r.ContentLength*bodyCopies); err != nil {
			return nil, err
		}
	}
	var body []byte
	err := s.outside(x, func() (err error) {
		body, err = s.receive(x, r)
		return err
	})
	return body, err
}

// reserve reserves memory, until the response is made, for what is made of length bytes. It
// reserves nothing for a small length.
func (s *Server) reserve(x *exchange, length, copies int64) error {
	if length <= largeBody {
		return nil
	}
	return s.pool.Reserve(&x.memory, x.reserver(), length*copies)
}

// reserveJSON is reserve for texts that are about to be encoded as JSON. A control character is one
// byte of a note and six bytes of its JSON.
func (s *Server) reserveJSON(x *exchange, texts ...string) error {
	var length int64
	for _, text := range texts {
		length += int64(len(text))
	}
	if length*maxEscape <= largeBody {
		return nil
	}
	for _, text := range texts {
		length += int64(escapes(text))
	}
	return s.reserve(x, length, readCopies)
}

// maxEscape is how many times longer a text can become as JSON.
const maxEscape = 6

// escapes returns by how many bytes the JSON of text is longer than text.
func escapes(text string) (more int) {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t':
			more++
		case c < ' ':
			more += 5 // \u0001
		case c == 0xE2 && (strings.HasPrefix(text[i:], "\u2028") || strings.HasPrefix(text[i:], "\u2029")):
			more += 3 // \u2028
		}
	}
	return more
}

// reserver returns the request on whose behalf memory is reserved.
func (x *exchange) reserver() pool.Request {
	r := x.asked
	r.Address = addressOf(x)
	return r
}

// keepAnswer counts only the memory of the response from now on, while the response waits for its
// client. All that it was made from is garbage.
func (s *Server) keepAnswer(x *exchange) {
	x.bytesIn, x.body = len(x.body), nil
	// A cached response is sent by many requests. Its memory was counted for the request that made
	// it.
	kept := min(int64(x.out.length()), max(x.held, x.memory.Bytes()))
	s.hold(x, int(kept-x.held))
	s.pool.Shrink(&x.memory, kept)
}

// bodyLimit returns the longest body of a request to rt, in bytes.
func (s *Server) bodyLimit(rt *route) int64 {
	if rt.smallBody {
		return min(smallBody, s.cfg.BodyLimit)
	}
	return s.cfg.BodyLimit
}

// receive reads the body, and at most as many bytes as the route allows. Memory is allocated and
// reserved as the body arrives, and never by what Content-Length promises.
func (s *Server) receive(x *exchange, r *http.Request) ([]byte, error) {
	limit := s.bodyLimit(x.route)
	defer func() { _ = x.out.ctrl.SetReadDeadline(time.Time{}) }()

	in := &timedBody{Reader: io.LimitReader(r.Body, limit+1), ctrl: &x.out.ctrl, began: time.Now(), most: math.MaxInt}
	if r.ContentLength < 0 {
		in.most = chunkedRead
	}
	body, err := readAll(in, r.ContentLength, func(size int64) error {
		s.hold(x, int(size-x.held))
		if size <= largeBody {
			return nil
		}
		return s.pool.ReserveArriving(&x.memory, x.reserver(), size*arriveCopies)
	})
	s.hold(x, len(body)-int(x.held))
	switch {
	case int64(len(body)) > limit:
		return nil, errBodyTooLarge
	case err == nil:
		x.received = true
		if len(body) > largeBody { // all of it has been sent, so it is worth a wait for memory
			err = s.pool.ReserveWithin(x.client, &x.memory, x.reserver(), int64(len(body))*bodyCopies, s.pacer.most)
		}
		return body, err
	case isRefusal(err):
		return nil, err
	case isTimeout(err):
		x.late = true
		return nil, errSlowBody
	case r.Context().Err() != nil:
		return nil, r.Context().Err()
	default: // the length is wrong, or a chunk is malformed
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
}

// timedBody reads a body that must arrive at the minimum rate, after a grace period, and must not
// pause for long. It reads little at a time. Inside a chunk net/http reads on until it has all the
// bytes that it was asked for, and that must not look like a pause.
type timedBody struct {
	io.Reader
	ctrl    *http.ResponseController
	most    int // bytes to read at a time, at most
	began   time.Time
	renewed time.Time // when the read deadline was set last
	arrived int64
}

func (b *timedBody) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.renewed) >= patienceStep {
		b.renewed = now
		deadline := now.Add(bodyPatience)
		if last := b.began.Add(sendGrace + time.Duration(b.arrived/leastRate)*time.Second); last.Before(deadline) {
			deadline = last
		}
		_ = b.ctrl.SetReadDeadline(deadline)
	}
	n, err := b.Reader.Read(p[:min(len(p), b.most)])
	b.arrived += int64(n)
	return n, err
}

// readAll is io.ReadAll for a body of the promised length; -1: the length is unknown. It returns
// the body in a buffer of that length. It never allocates a buffer of more than four times the
// bytes that have arrived. It calls grow with the size of each new buffer but the first, small one.
func readAll(r io.Reader, promised int64, grow func(size int64) error) ([]byte, error) {
	const first = 8 << 10
	size := int64(first)
	if promised >= 0 {
		size = min(promised, first)
	}
	body := make([]byte, 0, size+1) // one byte more, so that the next read meets the end
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
		if err := grow(size); err != nil {
			return body, err
		}
		body = append(make([]byte, 0, size+1), body...)
	}
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*pool.RejectedError](err)
	return ok
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// discard reads and drops, for a while, the body bytes that were not read before the response.
// Otherwise a client that is still sending would get a connection reset before it reads the
// response. A client that waits for "100 Continue" has sent no body and is not asked for it.
// deliver has set the read deadline.
func (x *exchange) discard() {
	if x.Request().Header.Get("Expect") != "" {
		return
	}
	_ = x.out.ctrl.Flush()
	_, _ = io.CopyN(io.Discard, x.Request().Body, discardBytes)
}

// object is a JSON object. It has the members as they were sent, under their exact names.
// encoding/json would match names in any case and replace invalid Unicode. Here both are rejected.
type object map[string]member

// A member is the JSON text of a member. It is a part of the body and not a copy, because each copy
// of a large text is one too many. Nothing writes to a body after it was read.
type member []byte

// UnmarshalJSON implements json.Unmarshaler.
func (m *member) UnmarshalJSON(text []byte) error {
	*m = text
	return nil
}

// readObject reads the body as a JSON object. A body with another Content-Type gives an object
// without members, as in the old server, and x.notJSON says why.
func (s *Server) readObject(x *exchange) (object, error) {
	h := x.Request().Header
	coding, err := bodyCoding(h)
	if err != nil {
		return nil, err
	}
	body, err := s.readBody(x)
	if err == nil && coding != "" {
		body, err = s.decode(x, coding, body)
	}
	if err != nil {
		return nil, err
	}
	x.body = body
	if kind := h.Get("Content-Type"); !isJSON(kind) {
		if len(body) > 0 {
			x.notJSON = fmt.Sprintf("must be application/json, is %.64s", kind)
		}
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
	// A byte order mark may be ignored (RFC 8259, 8.1).
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	if len(body) == 0 {
		return object{}, nil
	}
	if !utf8.Valid(body) || hasLoneSurrogate(body) {
		return nil, errMalformed
	}
	// It is JSON but not an object, so it lacks every member.
	if body[0] == '[' && json.Valid(body) {
		return object{}, nil
	}
	var o object
	if err := json.Unmarshal(body, &o); err != nil || o == nil {
		return nil, errMalformed
	}
	return o, nil
}

// hasLoneSurrogate reports whether an escape in the JSON text names half a surrogate pair (RFC
// 8259, section 8.2). Half a pair is not Unicode text, and encoding/json would silently store
// U+FFFD for it.
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
			return false // this is not JSON, and the parser will say so
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

// escaped returns the code unit of the \uXXXX that b begins with.
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

// text returns the string member name. ok is false if it is missing or not a string.
func (o object) text(name string) (s string, ok bool) {
	raw := o[name]
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// flag returns the boolean member name, which is false if it is missing. ok is false if it is not a
// boolean.
func (o object) flag(name string) (value, ok bool) {
	switch string(o[name]) {
	case "true":
		return true, true
	case "false", "":
		return false, true
	}
	return false, false
}

// stringList reads a JSON array of strings. ok is false if an element is null.
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
