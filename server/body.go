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
	smallBody = 16 << 10 // the most that credentials or a web vital may take: a password of 1 KiB, every byte escaped, is 6
	largeBody = 64 << 10 // above it, memory is reserved as a body arrives, and before a note or part of a list is read:

	// so many times its size, for all that is allocated until the answer is
	// there, garbage too, by Go (see TestCopies) and by SQLite (one to four).
	bodyCopies   = 10
	readCopies   = 8
	arriveCopies = 2 // while a body arrives: the buffers

	// A body of which nothing comes for so long is given up. The deadline moves by no less than a
	// second: to set it costs as much as a read.
	bodyPatience, patienceStep = 10 * time.Second, time.Second
	chunkedRead                = 4 << 10 // of a chunked body, so many bytes must come within bodyPatience

	discardBytes = 16 << 20 // of a body that nobody reads, so that the client gets to read the answer
	discardTime  = 2 * time.Second
)

var (
	errBodyTooLarge = errors.New("request body too large")
	errMalformed    = errors.New("malformed JSON")
	errSlowBody     = errors.New("request body came too slowly")
)

// readArrived reads the request's body, before there is a worker, if all of it has come with the header, as most do. The
// request then has no worker to give back while it is read, and one that is refused leaves nothing unread.
func readArrived(x *exchange) (err error) {
	r := x.Request()
	if r.ContentLength <= 0 || listener.ConnOf(r).BodyArrived() < r.ContentLength || r.Header.Get("Expect") != "" {
		return nil
	}
	body := make([]byte, r.ContentLength) // at most what the connection's buffer holds
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	x.arrived, x.received = body, true
	return nil
}

// readBody reads the request's body, outside the turn: a client that sends it
// slowly, or never, holds no worker. It is read at the least rate or not at all.
// A length that would not fit into memory is refused at once, but memory is set
// aside for what arrives, not for what is announced.
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

// reserve sets memory aside, until the answer is made, for what is made of length
// bytes, if that is much.
func (s *Server) reserve(x *exchange, length, copies int64) error {
	if length <= largeBody {
		return nil
	}
	return s.pool.Reserve(&x.memory, x.reserver(), length*copies)
}

// reserveJSON is reserve for texts that are about to be encoded: a control
// character is one byte of a note and six of its JSON.
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

// maxEscape is how many times its length a text has as JSON at most.
const maxEscape = 6

// escapes is how many bytes longer the JSON of text is.
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

// reserver is who memory is set aside for.
func (x *exchange) reserver() pool.Request {
	r := x.asked
	r.Address = addressOf(x)
	return r
}

// keepAnswer has only the answer count from now on, as it waits for its client:
// what it was made of is garbage.
func (s *Server) keepAnswer(x *exchange) {
	x.bytesIn, x.body = len(x.body), nil
	// An answer that another request made, and many send, was counted there.
	kept := min(int64(x.out.length()), max(x.held, x.memory.Bytes()))
	s.hold(x, int(kept-x.held))
	s.pool.Shrink(&x.memory, kept)
}

// bodyLimit is the most that the body of a request to rt may take, in bytes.
func (s *Server) bodyLimit(rt *route) int64 {
	if rt.smallBody {
		return min(smallBody, s.cfg.BodyLimit)
	}
	return s.cfg.BodyLimit
}

// receive reads at most as many bytes as the route allows. Memory grows with what
// has arrived, never with what Content-Length promises, and is set aside as it grows.
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
		if len(body) > largeBody { // all of it has been sent: it is worth a wait
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
	default: // a length that does not hold, a bad chunk
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
}

// timedBody reads a body that must come at the least rate, after a grace, and
// never pause for long. It reads little at a time: inside a chunk net/http goes
// on until it has all that was asked for, and that must not look like a pause.
type timedBody struct {
	io.Reader
	ctrl    *http.ResponseController
	most    int // bytes to read at a time
	began   time.Time
	renewed time.Time // when the deadline was set last
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

// readAll is io.ReadAll for a length that was promised, or -1: it ends in a
// buffer of that length, without ever having made one of more than four times
// what had come. Before each buffer but a small one it asks grow for its size.
func readAll(r io.Reader, promised int64, grow func(size int64) error) ([]byte, error) {
	const first = 8 << 10
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
		if err := grow(size); err != nil {
			return body, err
		}
		body = append(make([]byte, 0, size+1), body...)
	}
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*pool.Refusal](err)
	return ok
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

// readObject reads the body as a JSON object. A body that says it is of another kind
// lacks every member, as the old server had it, and x.notJSON says why.
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
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff"))) // RFC 8259, 8.1: a byte order mark may be ignored
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
