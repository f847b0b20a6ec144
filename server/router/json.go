package router

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"notesd/internal/heavy"
)

// jsonType is the value of Content-Type for all JSON. It must not be changed.
var jsonType = []string{"application/json; charset=utf-8"}

// EncodeJSON writes v as JSON, and a newline. The output is never HTML, so `<` stays `<`.
func EncodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Time is a time in the API's format: ISO 8601 in UTC with milliseconds.
type Time time.Time

// timeFormat is the format of a Time, with its quotes.
const timeFormat = `"2006-01-02T15:04:05.000Z"`

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return t.Append(nil), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (t *Time) UnmarshalJSON(text []byte) error {
	at, err := time.Parse(timeFormat, string(text))
	*t = Time(at)
	return err
}

// Append appends t to dst as JSON.
func (t Time) Append(dst []byte) []byte {
	return time.Time(t).UTC().AppendFormat(dst, timeFormat)
}

// JSON responds with the status, and with v as JSON.
func (c *Context) JSON(status int, v any) error {
	c.out.Header()["Content-Type"] = jsonType
	c.out.WriteHeader(status)
	return EncodeJSON(&c.out, v)
}

// Bytes responds with a body of the content type. body is not copied: it may be shared with other
// requests, and must not be changed afterwards.
func (c *Context) Bytes(status int, contentType string, body []byte) {
	c.SetHeader("Content-Type", contentType)
	c.out.setBody(status, body)
}

// SharedJSON responds with a JSON body that other requests may send as well. It must not be changed
// afterwards.
func (c *Context) SharedJSON(status int, body []byte) {
	c.out.Header()["Content-Type"] = jsonType
	c.out.setBody(status, body)
}

// Envelope is the success envelope of the API.
type Envelope struct {
	Success bool   `json:"success"`
	Data    any    `json:"data,omitempty"`
	Message string `json:"message,omitempty"`
}

// Data responds with the status, and with data in the success envelope.
func (c *Context) Data(status int, data any) error {
	return c.JSON(status, Envelope{Success: true, Data: data})
}

// Message responds with a text for people in the success envelope.
func (c *Context) Message(text string) error {
	return c.JSON(http.StatusOK, Envelope{Success: true, Message: text})
}

// NotJSON says why ReadObject has not read the body as JSON. It is empty if ReadObject has, or if
// there is no body.
func (c *Context) NotJSON() string { return c.notJSON }

// Body returns the body that was read, decoded by its Content-Encoding. It must not be changed.
func (c *Context) Body() []byte { return c.body }

// Object is a JSON object. It has the members as they were sent, under their exact names.
// encoding/json would match names in any case and replace invalid Unicode. Here both are rejected.
type Object map[string]Member

// A Member is the JSON text of a member of an object. It is a part of the body and not a copy, because each copy
// of a large text is one too many. Nothing writes to a body after it was read.
type Member []byte

// UnmarshalJSON implements json.Unmarshaler.
func (m *Member) UnmarshalJSON(text []byte) error {
	*m = text
	return nil
}

// ReadObject reads the body as a JSON object. A body with another Content-Type gives an object
// without members, as in the old server, and NotJSON says why.
func (c *Context) ReadObject() (Object, error) {
	body, err := c.ReadBody()
	if err != nil {
		return nil, err
	}
	if kind := c.r.Header.Get("Content-Type"); !isJSON(kind) {
		if len(body) > 0 {
			c.notJSON = fmt.Sprintf("must be application/json, is %.64s", kind)
		}
		return Object{}, nil
	}
	var o Object
	heavy.If(len(body) > LargeBody, func() { o, err = parseObject(body) })
	return o, err
}

func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}

func parseObject(body []byte) (Object, error) {
	// A byte order mark may be ignored (RFC 8259, 8.1).
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	if len(body) == 0 {
		return Object{}, nil
	}
	if !utf8.Valid(body) || hasLoneSurrogate(body) {
		return nil, errMalformed
	}
	// It is JSON but not an object, so it lacks every member.
	if body[0] == '[' && json.Valid(body) {
		return Object{}, nil
	}
	var o Object
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

// Text returns the string member name. ok is false if it is missing or not a string.
func (o Object) Text(name string) (s string, ok bool) {
	raw := o[name]
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	heavy.If(len(raw) > LargeBody, func() {
		if s, ok = decodeString(raw[1 : len(raw)-1]); !ok {
			ok = json.Unmarshal(raw, &s) == nil
		}
	})
	return s, ok
}

// unescaped has the bytes that the escapes of two bytes stand for.
var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// decodeString returns the text of a valid JSON string, which comes without its quotes. It does not know
// escapes of code points. It reads a text once, where encoding/json does so four times.
func decodeString(text []byte) (s string, ok bool) {
	i := bytes.IndexByte(text, '\\')
	if i < 0 {
		return string(text), true
	}
	var b strings.Builder
	b.Grow(len(text))
	for ; i >= 0; i = bytes.IndexByte(text, '\\') {
		c := unescaped[text[i+1]]
		if c == 0 {
			return "", false
		}
		b.Write(text[:i])
		b.WriteByte(c)
		text = text[i+2:]
	}
	b.Write(text)
	return b.String(), true
}

// Flag returns the boolean member name, which is false if it is missing. ok is false if it is not a
// boolean.
func (o Object) Flag(name string) (value, ok bool) {
	switch string(o[name]) {
	case "true":
		return true, true
	case "false", "":
		return false, true
	}
	return false, false
}

// Whole returns the member name, which is a whole number. ok is false if it is missing or anything
// else.
func (o Object) Whole(name string) (n int64, ok bool) {
	raw := o[name]
	if len(raw) == 0 || raw[0] == 'n' {
		return 0, false
	}
	return n, json.Unmarshal(raw, &n) == nil
}

// Object returns the member name, which is an object. ok is false if it is missing or anything else.
func (o Object) Object(name string) (in Object, ok bool) {
	raw := o[name]
	if len(raw) == 0 || raw[0] != '{' {
		return nil, false
	}
	heavy.If(len(raw) > LargeBody, func() { ok = json.Unmarshal(raw, &in) == nil })
	return in, ok
}

// StringList reads a JSON array of strings. ok is false if an element is null.
func StringList(raw Member) ([]string, bool) {
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
