package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"notesd/notes"
)

// cursors seals where a page ended into an opaque text and opens it again. The
// text is bound to the person and to the query by an HMAC (RFC 2104): with
// another query, or changed by a character, it is errBadCursor.
type cursors struct{ keys [][]byte }

// maxCursor is longer than any cursor of ours, in bytes. The longest is of a
// title whose characters grow when they are folded and are escaped in JSON.
const maxCursor = 16 << 10

// newCursors derives its keys from SESSION_SECRET: the first seals, all open.
func newCursors(secrets []string) cursors {
	var c cursors
	for _, secret := range secrets {
		c.keys = append(c.keys, sign([]byte(secret), []byte("notesd cursor")))
	}
	return c
}

// place is a notes.Position as a cursor carries it.
type place struct {
	Favorite bool   `json:"f,omitempty"`
	Pinned   bool   `json:"p,omitempty"`
	Time     int64  `json:"t,omitempty"`
	Title    string `json:"s,omitempty"`
	ID       string `json:"i"`
}

func (c cursors) seal(user string, q notes.Query, at notes.Position) string {
	text, err := json.Marshal(place(at))
	if err != nil {
		panic(err) // booleans, numbers and valid UTF-8: cannot fail
	}
	return base64.RawURLEncoding.EncodeToString(append(sign(c.keys[0], bound(user, q, text)), text...))
}

func (c cursors) open(user string, q notes.Query, cursor string) (*notes.Position, error) {
	if len(cursor) > maxCursor {
		return nil, errBadCursor
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < sha256.Size {
		return nil, errBadCursor
	}
	mac, text := raw[:sha256.Size], raw[sha256.Size:]
	if !slices.ContainsFunc(c.keys, func(key []byte) bool { return hmac.Equal(mac, sign(key, bound(user, q, text))) }) {
		return nil, errBadCursor
	}
	var at place
	if err := json.Unmarshal(text, &at); err != nil {
		return nil, errBadCursor
	}
	return new(notes.Position(at)), nil
}

// bound is what a cursor's HMAC covers: all of the query but the page's length, and the place.
func bound(user string, q notes.Query, text []byte) []byte {
	parts := []string{user, strconv.Itoa(int(q.Sort)), strconv.FormatBool(q.Ascending), strconv.FormatBool(q.Archived),
		strconv.FormatBool(q.Trashed), strconv.Quote(q.Search), strconv.Quote(strings.Join(q.Tags, ",")), string(text)}
	return []byte(strings.Join(parts, "\n"))
}

func sign(key, text []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return mac.Sum(nil)
}
