package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	maxBody  = 10 << 20
	maxTitle = 255 // code points
	maxPage  = 500
)

// note is a note in a response.
type note struct {
	ID         string   `json:"id"`
	Title      string   `json:"title"`
	Content    string   `json:"content"`
	Tags       []string `json:"tags"`
	Color      *string  `json:"color"`
	IsPinned   bool     `json:"isPinned"`
	IsFavorite bool     `json:"isFavorite"`
	IsArchived bool     `json:"isArchived"`
	IsMarkdown bool     `json:"isMarkdown"`
	IsTrashed  bool     `json:"isTrashed"`
	TrashedAt  *stamp   `json:"trashedAt"`
	UserID     string   `json:"userId"`
	CreatedAt  stamp    `json:"createdAt"`
	UpdatedAt  stamp    `json:"updatedAt"`
	Revision   int64    `json:"revision"`
}

// columns lists the columns that scan reads.
const columns = `id, title, content,
	ARRAY(SELECT tag FROM note_tags WHERE note_key = notes.key ORDER BY position), color,
	is_pinned, is_favorite, is_archived, is_markdown, is_trashed, trashed_at, user_id, created_at, updated_at, revision`

func (n *note) scan(row pgx.Row) error {
	return row.Scan(&n.ID, &n.Title, &n.Content, &n.Tags, &n.Color, &n.IsPinned, &n.IsFavorite,
		&n.IsArchived, &n.IsMarkdown,
		&n.IsTrashed, &n.TrashedAt, &n.UserID, (*int64)(&n.CreatedAt), (*int64)(&n.UpdatedAt), &n.Revision)
}

// send responds with n.
func (n *note) send(w http.ResponseWriter, status int) {
	w.Header().Set("ETag", `"`+n.ID+"."+strconv.FormatInt(n.Revision, 10)+`.1"`)
	reply(w, status, struct {
		Success bool  `json:"success"`
		Data    *note `json:"data"`
	}{true, n})
}

// getNote handles GET /api/notes/{id}.
func (s *server) getNote(w http.ResponseWriter, r *http.Request, user string) {
	var n note
	err := n.scan(s.db.QueryRow(r.Context(), `SELECT `+columns+` FROM notes WHERE id = $1 AND user_id = $2`,
		r.PathValue("id"), user))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		fail(w, http.StatusNotFound, "Note not found")
	case err != nil:
		fail(w, http.StatusInternalServerError, "Internal server error")
	default:
		n.send(w, http.StatusOK)
	}
}

// listNotes handles GET /api/notes?limit=n. It returns the first page in the default order.
func (s *server) listNotes(w http.ResponseWriter, r *http.Request, user string) {
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit < 1 || limit > maxPage {
		fail(w, http.StatusBadRequest, "Invalid limit")
		return
	}
	rows, err := s.db.Query(r.Context(),
		`SELECT `+columns+` FROM notes WHERE user_id = $1 AND NOT is_trashed AND is_archived = false
		ORDER BY is_favorite DESC, is_pinned DESC, updated_at DESC, id DESC LIMIT $2`, user, limit+1)
	if err != nil {
		fail(w, http.StatusInternalServerError, "Internal server error")
		return
	}
	body, next, err := s.page(rows, limit, user)
	if err != nil {
		fail(w, http.StatusInternalServerError, "Internal server error")
		return
	}
	if next != "" {
		w.Header().Set("Link", "</api/notes?cursor="+next+"&limit="+strconv.Itoa(limit)+`>; rel="next"`)
	}
	send(w, http.StatusOK, body)
}

// page writes at most limit rows. One more row means that there is a next page.
func (s *server) page(rows pgx.Rows, limit int, user string) (page []byte, next string, err error) {
	defer rows.Close()
	var body bytes.Buffer
	body.WriteString(`{"success":true,"data":[`)
	notes := encoder(&body)
	var n note
	for i := 0; rows.Next(); i++ {
		if i == limit {
			next = s.cursor(user, &n)
			break
		}
		if i > 0 {
			body.WriteByte(',')
		}
		n = note{}
		if err := n.scan(rows); err != nil {
			return nil, "", err
		}
		if err := notes.Encode(&n); err != nil {
			return nil, "", err
		}
	}
	body.WriteByte(']')
	if next != "" {
		body.WriteString(`,"nextCursor":"` + next + `"`)
	}
	body.WriteString("}\n")
	rows.Close()
	return body.Bytes(), next, rows.Err()
}

// cursor returns the cursor for a page of the default list that ended with n, in the format of
// notesd.
func (s *server) cursor(user string, n *note) string {
	place, err := json.Marshal(struct {
		Favorite bool   `json:"f,omitempty"`
		Pinned   bool   `json:"p,omitempty"`
		Time     int64  `json:"t,omitempty"`
		ID       string `json:"i"`
	}{n.IsFavorite, n.IsPinned, int64(n.UpdatedAt), n.ID})
	if err != nil {
		panic(err) // encoding it cannot fail
	}
	query := user + "\n0\nfalse\nfalse\nfalse\n\"\"\n\"\"\n"
	return base64.RawURLEncoding.EncodeToString(append(sign(s.cursorKey, append([]byte(query), place...)), place...))
}

// input is the request body of a create.
type input struct {
	Title      *string
	Content    *string
	Tags       []string
	Color      *string
	IsPinned   bool
	IsFavorite bool
	IsArchived bool
	IsMarkdown bool
}

func (in *input) valid() bool {
	return in.Title != nil && in.Content != nil && *in.Title != "" && utf8.RuneCountInString(*in.Title) <= maxTitle &&
		!strings.Contains(*in.Title+*in.Content, "\x00")
}

// createNote handles POST /api/notes.
func (s *server) createNote(w http.ResponseWriter, r *http.Request, user string) {
	var in input
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&in); err != nil {
		fail(w, http.StatusBadRequest, "Malformed JSON")
		return
	}
	if !in.valid() {
		fail(w, http.StatusBadRequest, "Invalid note data")
		return
	}
	now := stamp(time.Now().UnixMilli())
	n := note{ID: uuid.Must(uuid.NewV7()).String(), Title: *in.Title, Content: *in.Content,
		Tags:  append([]string{}, in.Tags...),
		Color: in.Color, IsPinned: in.IsPinned, IsFavorite: in.IsFavorite, IsArchived: in.IsArchived,
		IsMarkdown: in.IsMarkdown,
		UserID:     user, CreatedAt: now, UpdatedAt: now, Revision: 1}
	if err := s.insert(r, &n); err != nil {
		fail(w, http.StatusInternalServerError, "Internal server error")
		return
	}
	w.Header().Set("Location", "/api/notes/"+n.ID)
	n.send(w, http.StatusCreated)
}

// insert stores a new note in one statement, with one round trip and one commit. The searchable
// text is what strings.ToLower returns. notesd also normalizes it (notes.Fold).
func (s *server) insert(r *http.Request, n *note) error {
	size := len(n.Title) + len(n.Content) + len(strings.Join(n.Tags, ""))
	var seq int64
	return s.db.QueryRow(r.Context(), `WITH counted AS (
			UPDATE user_counters
			SET change_seq = change_seq + 1, note_count = note_count + 1, note_bytes = note_bytes + $12
			WHERE user_id = $2
			RETURNING change_seq
		), note AS (
			INSERT INTO notes (id, user_id, is_pinned, is_favorite, is_archived, is_markdown, is_trashed,
				created_at, updated_at,
				revision, change_seq, bytes, color, title, title_folded, content)
			SELECT $1, $2, $3, $4, $5, $6, false, $7, $7, 1, change_seq, $12, $8, $9, $10, $11 FROM counted
			RETURNING key, change_seq
		), search AS (
			INSERT INTO note_search (note_key, content_folded) SELECT key, $13 FROM note
		), tags AS (
			INSERT INTO note_tags (note_key, position, tag)
			SELECT key, position - 1, tag FROM note, unnest($14::text[]) WITH ORDINALITY AS list (tag, position)
		)
		SELECT change_seq FROM note`,
		n.ID, n.UserID, n.IsPinned, n.IsFavorite, n.IsArchived, n.IsMarkdown, int64(n.CreatedAt), n.Color, n.Title,
		strings.ToLower(n.Title), n.Content, size, strings.ToLower(n.Content), n.Tags).Scan(&seq)
}
