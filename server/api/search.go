package api

import (
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"notesd/internal/heavy"
	"notesd/notes"
	"notesd/notes/query"
	"notesd/server/router"
	"notesd/store"
)

// A noteMatch says where in a note the words of q are. Positions are in code points.
type noteMatch struct {
	Title   []hit   `json:"title"`
	Content []hit   `json:"content"`
	Tags    [][]hit `json:"tags"` // as many as the note has tags
	Excerpt excerpt `json:"excerpt"`
}

// A hit is [start, end).
type hit [2]int

type excerpt struct {
	Text  string `json:"text"`
	Start int    `json:"start"`
}

// newNoteMatch returns the JSON of a note's match.
func newNoteMatch(c *router.Context, words *query.Query, n *notes.Note) ([]byte, error) {
	h, err := words.Hits(c.Context(), n, heavy.Do)
	if err != nil {
		return nil, err
	}
	tags := make([][]hit, len(h.Tags))
	for i, hits := range h.Tags {
		tags[i] = toHits(hits)
	}
	return json.Marshal(noteMatch{
		Title: toHits(h.Title), Content: toHits(h.Content), Tags: tags,
		Excerpt: excerpt{h.Excerpt.Text, h.Excerpt.Start},
	})
}

func toHits(hits []query.Hit) []hit {
	all := make([]hit, len(hits))
	for i, h := range hits {
		all[i] = hit{h.Start, h.End}
	}
	return all
}

// appendMatches appends the notes of a part with their matches. It reads all of them: the cache has
// no texts to look for words in.
func (a *API) appendMatches(
	c *router.Context, body []byte, words *query.Query, part []store.Ref, first bool,
) ([]byte, error) {
	found, err := a.readNotes(c, part)
	if err != nil {
		return nil, err
	}
	for _, n := range found {
		e, err := newNoteEntry(n)
		if err != nil {
			return nil, err
		}
		match, err := newNoteMatch(c, words, &n)
		if err != nil {
			return nil, err
		}
		if !first {
			body = append(body, ',')
		}
		first = false
		note := noteInList(e)
		body = append(append(body, note[:len(note)-1]...), `,"match":`...)
		body = append(append(body, match...), "}\n"...)
	}
	return body, nil
}

// Suggestions is the response to GET /api/search/suggest.
type Suggestions struct {
	Titles []TitleSuggestion `json:"titles"`
	Tags   []string          `json:"tags"`
	Words  []string          `json:"words"`
}

// A TitleSuggestion is a note by its title.
type TitleSuggestion struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// suggest handles GET /api/search/suggest.
func (a *API) suggest(c *router.Context) error {
	text := parseQuery(c.Request().URL.RawQuery).Get("q")
	if !notes.ValidText(text) {
		return errBadSearch
	}
	if utf8.RuneCountInString(text) > maxSearch {
		return errLongSearch
	}
	out := Suggestions{Titles: []TitleSuggestion{}, Tags: []string{}, Words: []string{}}
	prefix, ok := query.LastWord(text)
	if !ok {
		return c.Data(http.StatusOK, out)
	}
	found, err := a.store.Suggest(c.Context(), c.UserID(), prefix)
	if err != nil {
		return err
	}
	for _, t := range found.Titles {
		out.Titles = append(out.Titles, TitleSuggestion(t))
	}
	out.Tags, out.Words = found.Tags, found.Words
	return c.Data(http.StatusOK, out)
}
