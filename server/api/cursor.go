package api

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

// cursors encodes the position at the end of a page as an opaque cursor, and decodes it. An HMAC
// (RFC 2104) binds the cursor to the user and the query. With another query, or with one character
// changed, the cursor gives errBadCursor.
type cursors struct{ keys [][]byte }

// maxCursor is longer than any valid cursor, in bytes. The longest cursor is of a title whose
// characters grow when they are folded and escaped in JSON.
const maxCursor = 16 << 10

// newCursors derives the keys from SESSION_SECRET. The first key signs, and all keys verify.
func newCursors(secrets []string) cursors {
	var c cursors
	for _, secret := range secrets {
		c.keys = append(c.keys, sign([]byte(secret), []byte("notesd cursor")))
	}
	return c
}

// cursorPosition is a notes.Position as it is encoded in a cursor.
type cursorPosition struct {
	Favorite bool   `json:"f,omitempty"`
	Pinned   bool   `json:"p,omitempty"`
	Time     int64  `json:"t,omitempty"`
	Title    string `json:"s,omitempty"`
	ID       string `json:"i"`
	InTitle  int    `json:"n,omitempty"`
	Whole    int    `json:"w,omitempty"`
}

func (c cursors) encode(user string, q notes.Query, at notes.Position) string {
	text, err := json.Marshal(cursorPosition(at))
	if err != nil {
		panic(err) // booleans, numbers and valid UTF-8 cannot fail
	}
	return base64.RawURLEncoding.EncodeToString(append(sign(c.keys[0], signedPart(user, q, text)), text...))
}

func (c cursors) decode(user string, q notes.Query, cursor string) (*notes.Position, error) {
	if len(cursor) > maxCursor {
		return nil, errBadCursor
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < sha256.Size {
		return nil, errBadCursor
	}
	mac, text := raw[:sha256.Size], raw[sha256.Size:]
	signed := signedPart(user, q, text)
	if !slices.ContainsFunc(c.keys, func(key []byte) bool { return hmac.Equal(mac, sign(key, signed)) }) {
		return nil, errBadCursor
	}
	var at cursorPosition
	if err := json.Unmarshal(text, &at); err != nil {
		return nil, errBadCursor
	}
	return new(notes.Position(at)), nil
}

// signedPart returns what the cursor's HMAC covers: all of the query but the page's length, and the
// position.
func signedPart(user string, q notes.Query, text []byte) []byte {
	parts := []string{user, strconv.Itoa(int(q.Sort)), strconv.FormatBool(q.Ascending), strconv.FormatBool(q.Archived),
		strconv.FormatBool(q.Trashed), strconv.Quote(q.Search), strconv.Quote(strings.Join(q.Tags, ",")), string(text)}
	if q.Words != "" {
		parts = append(parts, strconv.Quote(q.Words))
	}
	return []byte(strings.Join(parts, "\n"))
}

func sign(key, text []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return mac.Sum(nil)
}
