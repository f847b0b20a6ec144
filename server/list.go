package server

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"notesd/notes"
	"notesd/pool"
	"notesd/store"
)

const (
	maxPage   = 500
	maxSearch = 1000 // characters of the search text

	maxSearchTags = 100 // tags in one query

	// partBytes is how many bytes of notes are read with one permit, and are one part of a streamed
	// list.
	partBytes = 1 << 20
)

var (
	errBadLimit    = errors.New("invalid limit")
	errBadCursor   = errors.New("invalid cursor")
	errCursorAlone = errors.New("cursor without a limit")
	errBadSearch   = errors.New("invalid search")

	errLongSearch = errors.New("search text too long")
	errManyTags   = errors.New("too many tags")
)

// listNotes handles GET /api/notes. It first reads the order of the notes in one narrow query. Then
// it reads the notes that are not in the cache, at most partBytes at a time. A list that fits into
// one part is buffered like any response, and cached. A longer list is streamed. Between its parts
// it holds neither a worker nor a database connection, and memory does not grow with the list. From
// its first part on, a streamed list is bulk work.
func listNotes(s *Server, x *exchange) error {
	var long *listPage
	query := x.Request().URL.RawQuery
	c, err := s.copies.readList(x.ctx, x.user, query, func() (c *answerCopy, keep bool, err error) {
		p, err := s.readPage(x)
		switch {
		case err != nil:
			return nil, false, err
		case partLength(p.refs) < len(p.refs):
			long = &p
			return nil, false, errUnshared
		}
		c, err = s.wholeList(x, p)
		return c, !p.search, err // the same search is hardly ever repeated
	})
	if long != nil {
		return s.streamList(x, *long)
	}
	if err != nil {
		return err
	}
	x.found(c)
	return nil
}

// A listPage is one page of a list, before its notes are read.
type listPage struct {
	refs       []store.Ref
	next, link string // of the next page; empty: there is none
	search     bool
}

func (s *Server) readPage(x *exchange) (p listPage, err error) {
	q, untrimmed, err := s.listQuery(x)
	if err != nil {
		return p, err
	}
	p.search = q.Search != ""
	limit, wanted := q.Limit, q
	wanted.Tags = append(wanted.Tags, untrimmed...)
	if limit > 0 {
		wanted.Limit++ // one more ref shows whether there is a next page
	}
	if p.refs, err = s.store.NoteRefs(x.ctx, x.user, wanted); err != nil {
		return p, err
	}
	if limit > 0 && len(p.refs) > limit {
		p.refs = p.refs[:limit]
		p.next = s.cursors.seal(x.user, q, p.refs[limit-1].Position)
		p.link = nextLink(x.Request().URL, p.next)
	}
	return p, nil
}

// wholeList makes the response for a list of one part.
func (s *Server) wholeList(x *exchange, p listPage) (*answerCopy, error) {
	size := int64(512)
	for _, ref := range p.refs {
		size += ref.Bytes + 512
	}
	if err := s.reserve(x, size, readCopies); err != nil {
		return nil, err
	}
	body, err := s.appendPart(x, append(make([]byte, 0, size), listHead...), p.refs, true)
	if err != nil {
		return nil, err
	}
	body = p.appendEnd(body)
	s.hold(x, len(body))
	return newListCopy(body, p.link), nil
}

// appendEnd appends the end of a list's envelope.
func (p listPage) appendEnd(body []byte) []byte {
	body = append(body, ']')
	if p.next != "" {
		body = append(body, `,"nextCursor":"`+p.next+`"`...) // base64url: nothing to escape
	}
	return append(body, noteTail...)
}

// streamList writes a long list: its envelope, and its notes part by part.
func (s *Server) streamList(x *exchange, p listPage) error {
	x.out.Header().Set("Content-Type", "application/json; charset=utf-8")
	if p.link != "" {
		x.out.Header().Set("Link", p.link)
	}
	_, _ = x.out.Write([]byte(listHead))
	// A user does not wait for a long list as for the main screen.
	if err := s.become(x, pool.Bulk); err != nil {
		return err
	}
	if err := s.reserve(x, largestPart(p.refs), readCopies); err != nil {
		return err
	}
	first := true
	for refs := p.refs; len(refs) > 0; {
		part := refs[:partLength(refs)]
		refs = refs[len(part):]
		before := x.out.length()
		body, err := s.appendPart(x, x.out.body, part, first)
		if err != nil {
			return err
		}
		x.out.body = body
		first = first && x.out.length() == before
		s.hold(x, x.out.length()-before)
		if len(refs) > 0 {
			if err := s.sendPart(x); err != nil {
				return err
			}
		}
	}
	x.out.body = p.appendEnd(x.out.body)
	return nil
}

// appendPart appends the notes of a part. It reads the notes that are not in the cache in one
// batch. readMissing caches them.
func (s *Server) appendPart(x *exchange, body []byte, part []store.Ref, first bool) ([]byte, error) {
	copies, missing, reading := s.copies.take(x.user, part)
	if len(missing) > 0 {
		if err := s.readMissing(x, copies, part, missing, reading); err != nil {
			return nil, err
		}
	}
	for _, c := range copies {
		if c == nil { // the note was deleted since
			continue
		}
		if !first {
			body = append(body, ',')
		}
		first = false
		body = append(append(body, c.inList()...), '\n')
	}
	return body, nil
}

// partLength returns how many of refs make up the next part, which is at least one.
func partLength(refs []store.Ref) int {
	var bytes int64
	for i, ref := range refs {
		if bytes += ref.Bytes; bytes > partBytes && i > 0 {
			return i
		}
	}
	return len(refs)
}

// largestPart returns the size of the largest part of refs, in bytes.
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

// readMissing reads the notes that copies lacks. copies are the entries of part.
func (s *Server) readMissing(x *exchange, copies []*answerCopy, part, missing []store.Ref, r reading) error {
	notes, err := s.store.NotesByRef(x.ctx, x.user, missing)
	if err != nil {
		return err
	}
	texts := make([]string, len(notes))
	for i, n := range notes {
		texts[i] = n.Content
	}
	if err := s.reserveJSON(x, texts...); err != nil {
		return err
	}
	// The client sees the parts of a long list as they are read. It also sees that a note is gone.
	for _, ref := range missing {
		s.copies.saw(x.user, ref.ID)
	}
	for i, ref := range part {
		if copies[i] != nil || len(notes) == 0 || notes[0].Key != ref.Key {
			continue
		}
		if copies[i], err = newNoteCopy(notes[0]); err != nil {
			return err
		}
		s.copies.keep(r, ref.ID, copies[i])
		notes = notes[1:]
	}
	return nil
}

// sendPart sends what is buffered while other requests use the worker, and then takes a worker
// again. During the send only the part counts as memory of the request. For the memory of the next
// part it waits for other requests, because the client cannot retry in the middle of a response.
func (s *Server) sendPart(x *exchange) error {
	set := x.memory.Bytes()
	err := s.outside(x, func() error {
		s.pool.Shrink(&x.memory, int64(cap(x.out.body)))
		if err := x.out.flush(); err != nil {
			return err
		}
		return s.pool.ReserveWithin(x.client, &x.memory, x.reserver(), set, s.pacer.most)
	})
	s.hold(x, -int(x.held))
	return err
}

// listQuery parses the query of GET /api/notes. It is as lenient as the old server, except for
// limit and cursor, which the old server did not have. A cursor is bound to the query without the
// untrimmed tags.
func (s *Server) listQuery(x *exchange) (q notes.Query, untrimmed []string, err error) {
	values := parseQuery(x.Request().URL.RawQuery)
	tags, untrimmed := tagList(values["tags"])
	q = notes.Query{
		Search:    values.Get("search"),
		Tags:      tags,
		Archived:  values.Get("archived") == "true",
		Trashed:   values.Get("trashed") == "true",
		Sort:      sorts[values.Get("sortBy")], // updatedAt if it is unknown
		Ascending: values.Get("order") == "asc",
	}
	if !notes.ValidText(q.Search) || !notes.ValidText(strings.Join(tags, "")) {
		return q, untrimmed, errBadSearch
	}
	if utf8.RuneCountInString(q.Search) > maxSearch {
		return q, untrimmed, errLongSearch
	}
	if len(tags) > maxSearchTags {
		return q, untrimmed, errManyTags
	}
	if values.Has("limit") {
		n, err := strconv.Atoi(values.Get("limit"))
		if err != nil || n < 1 || n > maxPage {
			return q, untrimmed, errBadLimit
		}
		q.Limit = n
	}
	if !values.Has("cursor") {
		return q, untrimmed, nil
	}
	if q.Limit == 0 {
		return q, untrimmed, errCursorAlone
	}
	after, err := s.cursors.open(x.user, q, values.Get("cursor"))
	q.After = after
	return q, untrimmed, err
}

var sorts = map[string]notes.Sort{"updatedAt": notes.ByUpdated, "createdAt": notes.ByCreated, "title": notes.ByTitle}

// parseQuery parses a query as the old server did: an invalid escape stands for itself.
// url.ParseQuery would drop the whole parameter. A search for "100%" or "a;b", sent unescaped,
// would then find everything.
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

// tagList splits the comma-separated tags, trims them and drops empty ones. A tag that was sent
// with blanks around it is also searched for untrimmed, because notes keep the blanks.
func tagList(values []string) (tags, untrimmed []string) {
	for _, value := range values {
		for tag := range strings.SplitSeq(value, ",") {
			plain := strings.TrimSpace(tag)
			if plain == "" {
				continue
			}
			tags = append(tags, plain)
			if plain != tag {
				untrimmed = append(untrimmed, tag)
			}
		}
	}
	return tags, untrimmed
}

// nextLink returns the Link header for the next page (RFC 8288).
func nextLink(u *url.URL, cursor string) string {
	values := parseQuery(u.RawQuery)
	values.Set("cursor", cursor)
	return "<" + (&url.URL{Path: "/api/notes", RawQuery: values.Encode()}).String() + `>; rel="next"`
}
