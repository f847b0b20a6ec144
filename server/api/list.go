package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"notesd/notes"
	"notesd/notes/query"
	"notesd/server/router"
	"notesd/store"
)

const (
	maxPage     = 500
	defaultPage = 100  // of a list that is paged without a limit
	maxSearch   = 1000 // characters of the search text

	maxSearchTags = 100 // tags in one query

	// partBytes is how many bytes of notes are read with one permit, and are one part of a streamed
	// list.
	partBytes = 1 << 20
)

var (
	errBadLimit    = router.NewError(http.StatusBadRequest, "Invalid limit: a whole number from 1 to 500")
	errBadCursor   = router.NewError(http.StatusBadRequest, "Invalid cursor: start again from the first page")
	errCursorAlone = router.NewError(http.StatusBadRequest,
		"Invalid cursor: it needs the limit of the page it came with")
	errBadSearch  = router.NewError(http.StatusBadRequest, "Invalid search: not valid UTF-8 text")
	errLongSearch = router.NewError(http.StatusBadRequest, "Search text too long")
	errManyTags   = router.NewError(http.StatusBadRequest, "Too many tags")
)

// listNotes handles GET /api/notes. It first reads the order of the notes in one narrow query. Then
// it reads the notes that are not in the cache, at most partBytes at a time. A list that fits into
// one part is buffered like any response, and cached. A longer list is streamed. Between its parts
// it holds neither a permit nor a database connection, and memory does not grow with the list. From
// its first part on, a streamed list is bulk work.
func (a *API) listNotes(c *router.Context) error {
	e, long, err := a.cache.readList(c.Context(), c.UserID(), c.Request().URL.RawQuery, func() (listPage, error) {
		return a.readList(c)
	})
	switch {
	case err != nil:
		return err
	case e == nil:
		return a.streamList(c, long)
	}
	c.WriteEntry(e)
	return nil
}

// readList reads a page, and makes its response if it is one part.
func (a *API) readList(c *router.Context) (p listPage, err error) {
	if p, err = a.readPage(c); err == nil && partLength(p.refs) == len(p.refs) {
		p.whole, err = a.wholeList(c, p)
	}
	return p, err
}

// listClass returns the class of a request for a list.
func listClass(r *http.Request) router.Class {
	if r.URL.RawQuery == "" {
		return router.Read
	}
	if values := parseQuery(r.URL.RawQuery); values.Get("search") != "" || values.Get("q") != "" {
		return router.Search
	}
	return router.Read
}

// cachedList finds the response to GET /api/notes in memory.
func (a *API) cachedList(l router.Lookup) *router.Entry {
	return a.cache.get(listKey(l.UserID, l.Request.URL.RawQuery))
}

// A listPage is one page of a list, before its notes are read. Several requests may share it.
type listPage struct {
	refs       []store.Ref
	whole      *router.Entry // the response; nil: it is too long for one part
	next, link string        // of the next page; empty: there is none
	search     bool
	words      *query.Query // whose matches are shown; nil: the list has none
}

func (a *API) readPage(c *router.Context) (p listPage, err error) {
	q, untrimmed, err := a.listQuery(c)
	if err != nil {
		return p, err
	}
	p.search = q.Search != "" || q.Words != ""
	if q.Words != "" {
		p.words = new(query.Parse(q.Words))
	}
	limit, wanted := q.Limit, q
	wanted.Tags = append(wanted.Tags, untrimmed...)
	if limit > 0 {
		wanted.Limit++ // one more ref shows whether there is a next page
	}
	if p.refs, err = a.store.NoteRefs(c.Context(), c.UserID(), wanted); err != nil {
		return p, err
	}
	if limit > 0 && len(p.refs) > limit {
		p.refs = p.refs[:limit]
		p.next = a.cursors.encode(c.UserID(), q, p.refs[limit-1].Position)
		p.link = nextLink(c.Request().URL, p.next)
	}
	return p, nil
}

// wholeList makes the response for a list of one part.
func (a *API) wholeList(c *router.Context, p listPage) (*router.Entry, error) {
	size := int64(512)
	for _, ref := range p.refs {
		size += ref.Bytes + 512
	}
	if err := c.Reserve(size); err != nil {
		return nil, err
	}
	body, err := a.appendPart(c, append(make([]byte, 0, size), listHead...), p.words, p.refs, true)
	if err != nil {
		return nil, err
	}
	body = p.appendEnd(body)
	c.Hold(len(body))
	return newListEntry(body, p.link), nil
}

// appendEnd appends the end of a list's envelope.
func (p listPage) appendEnd(body []byte) []byte {
	body = append(body, ']')
	if p.next != "" {
		body = append(body, `,"nextCursor":"`+p.next+`"`...) // base64url: nothing to escape
	}
	if p.words != nil && p.words.Ignored != nil {
		ignored, _ := json.Marshal(p.words.Ignored) // text can always be marshalled
		body = append(append(body, `,"ignored":`...), ignored...)
	}
	return append(body, noteTail...)
}

// streamList writes a long list: its envelope, and its notes part by part.
func (a *API) streamList(c *router.Context, p listPage) error {
	c.SetHeader("Content-Type", "application/json; charset=utf-8")
	if p.link != "" {
		c.SetHeader("Link", p.link)
	}
	_, _ = c.Writer().Write([]byte(listHead))
	// A user does not wait for a long list as for the main screen.
	if err := c.Reclassify(router.Bulk); err != nil {
		return err
	}
	if err := c.Reserve(largestPart(p.refs)); err != nil {
		return err
	}
	first := true
	for refs := p.refs; len(refs) > 0; {
		part := refs[:partLength(refs)]
		refs = refs[len(part):]
		before := len(c.Buffer())
		body, err := a.appendPart(c, c.Buffer(), p.words, part, first)
		if err != nil {
			return err
		}
		c.SetBuffer(body)
		first = first && len(body) == before
		c.Hold(len(body) - before)
		if len(refs) > 0 {
			if err := c.SendPart(); err != nil {
				return err
			}
		}
	}
	c.SetBuffer(p.appendEnd(c.Buffer()))
	return nil
}

// appendPart appends the notes of a part. It reads the notes that are not in the cache in one
// batch. readMissing caches them.
func (a *API) appendPart(
	c *router.Context, body []byte, words *query.Query, part []store.Ref, first bool,
) ([]byte, error) {
	if words != nil {
		return a.appendMatches(c, body, words, part, first)
	}
	entries, missing, read := a.cache.take(c.UserID(), part)
	if len(missing) > 0 {
		if err := a.readMissing(c, entries, part, missing, read); err != nil {
			return nil, err
		}
	}
	for _, e := range entries {
		if e == nil { // the note was deleted since
			continue
		}
		if !first {
			body = append(body, ',')
		}
		first = false
		body = append(append(body, noteInList(e)...), '\n')
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

// readMissing reads the notes that entries lacks. entries are the cache entries of part.
func (a *API) readMissing(c *router.Context, entries []*router.Entry, part, missing []store.Ref, r batchRead) error {
	notes, err := a.readNotes(c, missing)
	if err != nil {
		return err
	}
	// The client sees the parts of a long list as they are read. It also sees that a note is gone.
	for _, ref := range missing {
		a.cache.observed(c.UserID(), ref.ID)
	}
	for i, ref := range part {
		if entries[i] != nil || len(notes) == 0 || notes[0].Key != ref.Key {
			continue
		}
		if entries[i], err = newNoteEntry(notes[0]); err != nil {
			return err
		}
		a.cache.keep(r, ref.ID, entries[i])
		notes = notes[1:]
	}
	return nil
}

// readNotes reads notes, and reserves the memory for their JSON.
func (a *API) readNotes(c *router.Context, refs []store.Ref) ([]notes.Note, error) {
	read, err := a.store.NotesByRef(c.Context(), c.UserID(), refs)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(read))
	for i, n := range read {
		texts[i] = n.Content
	}
	return read, c.ReserveJSON(texts...)
}

// listQuery parses the query of GET /api/notes. It is as lenient as the old server, except for
// limit and cursor, which the old server did not have. A cursor is bound to the query without the
// untrimmed tags.
func (a *API) listQuery(c *router.Context) (q notes.Query, untrimmed []string, err error) {
	values := parseQuery(c.Request().URL.RawQuery)
	tags, untrimmed := tagList(values["tags"])
	q = notes.Query{
		Search:    values.Get("search"),
		Words:     strings.TrimSpace(values.Get("q")),
		Tags:      tags,
		Archived:  values.Get("archived") == "true",
		Trashed:   values.Get("trashed") == "true",
		Sort:      sorts[values.Get("sortBy")], // updatedAt if it is unknown
		Ascending: values.Get("order") == "asc",
	}
	if _, sorted := sorts[values.Get("sortBy")]; q.Words != "" && !sorted {
		q.Sort = notes.ByRank
	}
	if !notes.ValidText(q.Search) || !notes.ValidText(q.Words) || !notes.ValidText(strings.Join(tags, "")) {
		return q, untrimmed, errBadSearch
	}
	if utf8.RuneCountInString(q.Search) > maxSearch || utf8.RuneCountInString(q.Words) > maxSearch {
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
	after, err := a.cursors.decode(c.UserID(), q, values.Get("cursor"))
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
