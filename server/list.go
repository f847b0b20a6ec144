package server

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"notesd/pool"
	"notesd/store"
)

const (
	maxPage   = 500
	partBytes = 1 << 20 // of notes that one turn reads and one part of a streamed list holds
)

var (
	errBadLimit  = errors.New("invalid limit")
	errBadCursor = errors.New("invalid cursor")
	errBadSearch = errors.New("invalid search")
)

// listNotes answers GET /api/notes. The order is read first, in one narrow
// query; then the notes, at most partBytes at a time. A list that fits into
// one part is buffered like any answer, a longer one streamed: between its
// parts neither a worker nor a connection to the database is held, and memory
// does not grow with the list; and from the first on, the list is bulk work.
func listNotes(s *Server, x *exchange) error {
	q, err := s.listQuery(x)
	if err != nil {
		return err
	}
	limit := q.Limit
	if limit > 0 {
		q.Limit++ // one more tells whether there is a next page
	}
	refs, err := s.store.NoteRefs(x.ctx, x.user, q)
	if err != nil {
		return err
	}
	var next string
	if limit > 0 && len(refs) > limit {
		refs = refs[:limit]
		next = s.cursors.seal(x.user, q, refs[limit-1].Position)
		x.out.Header().Set("Link", nextLink(x.Request().URL, next))
	}
	return s.writeList(x, refs, next)
}

// writeList writes the envelope of a list, its notes part by part.
func (s *Server) writeList(x *exchange, refs []store.Ref, next string) error {
	x.out.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = x.out.Write([]byte(`{"success":true,"data":[`))
	if partLength(refs) < len(refs) { // nobody waits for a long list as for the main screen
		if err := s.become(x, pool.Bulk); err != nil {
			return err
		}
	}
	if err := s.reserve(x, largestPart(refs), readCopies); err != nil {
		return err
	}
	written := 0
	for len(refs) > 0 {
		part := refs[:partLength(refs)]
		refs = refs[len(part):]
		n, err := s.writePart(x, part, written > 0)
		if err != nil {
			return err
		}
		written += n
		if len(refs) > 0 {
			if err := s.sendPart(x); err != nil {
				return err
			}
		}
	}
	_, _ = x.out.Write([]byte("]"))
	if next != "" {
		_, _ = x.out.Write([]byte(`,"nextCursor":"` + next + `"`)) // base64url: nothing to escape
	}
	_, err := x.out.Write([]byte("}\n"))
	return err
}

// partLength is how many of refs make up a part: one at least.
func partLength(refs []store.Ref) int {
	var bytes int64
	for i, ref := range refs {
		if bytes += ref.Bytes; bytes > partBytes && i > 0 {
			return i
		}
	}
	return len(refs)
}

// largestPart is the size of the largest part that refs make, in bytes.
func largestPart(refs []store.Ref) (largest int64) {
	for len(refs) > 0 {
		n, bytes := partLength(refs), int64(0)
		for _, ref := range refs[:n] {
			bytes += ref.Bytes
		}
		largest, refs = max(largest, bytes), refs[n:]
	}
	return largest
}

// writePart reads one part's notes and buffers them.
func (s *Server) writePart(x *exchange, part []store.Ref, follows bool) (written int, err error) {
	notes, err := s.store.NotesByRef(x.ctx, x.user, part)
	if err != nil {
		return 0, err
	}
	before := len(x.out.body)
	for _, n := range notes {
		if follows {
			_, _ = x.out.Write([]byte(","))
		}
		follows = true
		if err := encodeJSON(x.out, noteOutput(n)); err != nil {
			return 0, err
		}
	}
	s.hold(x, len(x.out.body)-before)
	return len(notes), nil
}

// sendPart sends what is buffered while the worker serves others, and takes a turn again.
func (s *Server) sendPart(x *exchange) error {
	err := s.outside(x, x.out.flush)
	s.pool.Hold(x.shard, -x.held)
	x.held = 0
	return err
}

// listQuery reads the query of GET /api/notes, as leniently as the old server
// but for what is ours: limit and cursor.
func (s *Server) listQuery(x *exchange) (store.ListQuery, error) {
	values := parseQuery(x.Request().URL.RawQuery)
	q := store.ListQuery{
		Search:    values.Get("search"),
		Tags:      tagList(values["tags"]),
		Archived:  values.Get("archived") == "true",
		Trashed:   values.Get("trashed") == "true",
		Sort:      sorts[values.Get("sortBy")], // unknown: by updatedAt
		Ascending: values.Get("order") == "asc",
	}
	if !isText(q.Search) || !isText(strings.Join(q.Tags, "")) {
		return q, errBadSearch
	}
	if values.Has("limit") {
		n, err := strconv.Atoi(values.Get("limit"))
		if err != nil || n < 1 || n > maxPage {
			return q, errBadLimit
		}
		q.Limit = n
	}
	if !values.Has("cursor") {
		return q, nil
	}
	if q.Limit == 0 {
		return q, errBadLimit // a cursor goes with a page
	}
	after, err := s.cursors.open(x.user, q, values.Get("cursor"))
	q.After = after
	return q, err
}

var sorts = map[string]store.Sort{"updatedAt": store.ByUpdated, "createdAt": store.ByCreated, "title": store.ByTitle}

// parseQuery reads a query as the old server did: what is no escape stands for
// itself. url.ParseQuery drops the whole parameter then, and a search for "100%"
// or "a;b", sent as typed, would find everything.
func parseQuery(query string) url.Values {
	values := url.Values{}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		values.Add(unescape(name), unescape(value))
	}
	return values
}

func unescape(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return strings.ReplaceAll(text, "+", " ")
}

// tagList is the comma list of tags, trimmed, empties dropped.
func tagList(values []string) []string {
	var tags []string
	for _, value := range values {
		for tag := range strings.SplitSeq(value, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				tags = append(tags, tag)
			}
		}
	}
	return tags
}

// nextLink is the Link header of the page after this one (RFC 8288).
func nextLink(u *url.URL, cursor string) string {
	values := parseQuery(u.RawQuery)
	values.Set("cursor", cursor)
	return "<" + (&url.URL{Path: "/api/notes", RawQuery: values.Encode()}).String() + `>; rel="next"`
}
