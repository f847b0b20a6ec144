package dump

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"notesd/store/schema"
)

// A dumpTable is a table that a backup contains, with the columns that it contains. Folded columns
// are not saved: a restore computes them again.
type dumpTable struct {
	name    string
	key     string // its primary key, which orders the rows
	columns []schema.Column
	folded  map[string]string // folded columns by the columns that they are computed from
	since   int64             // the first schema that has the table
}

// tablesOf returns the tables that a schema has.
func tablesOf(schema int64) []dumpTable {
	return slices.DeleteFunc(slices.Clone(dumpTables), func(t dumpTable) bool { return t.since > schema })
}

// dumpTables are in the order in which they can be restored: a table comes after those that it
// refers to. Sessions, sign_in_failures and account_log are left out. A session that has ended must
// not come back, and a backup must not let anyone sign in: of app tokens it has hashes.
var dumpTables = []dumpTable{
	{"users", "id", schema.Columns(`id text, email text, name text, password_hash text, failed_logins integer,
		locked_until integer, last_login_at integer, created_at integer, updated_at integer, session_epoch integer,
		disabled_at integer, deleted_at integer, preferences text`),
		map[string]string{"email": "email_folded"}, 1},
	{"user_counters", "user_id",
		schema.Columns(`user_id text, change_seq integer, note_count integer, note_bytes integer,
		quota_notes integer, quota_bytes integer, history_bytes integer, quota_history integer,
		forgotten_seq integer`), nil, 1},
	{"notes", "key", schema.Notes,
		map[string]string{"title": "title_folded"}, 1},
	{"note_tags", "note_key, position", schema.Columns(`note_key integer, position integer, tag text`), nil, 1},
	{"note_versions", "note_key, revision", schema.Versions, nil, 5},
	{"tombstones", "user_id, change_seq", schema.Columns(`user_id text, change_seq integer, note_id text,
		deleted_at integer`), nil, 1},
	{"idempotency_keys", "user_id, key", schema.Columns(`user_id text, key text, body_hash bytes, note_id text,
		created_at integer`), nil, 1},
	{"app_tokens", "id", schema.Columns(`id text, token_hash bytes, user_id text, name text, scope text,
		created_at integer, expires_at integer, last_used_at integer`), nil, 7},
	{"totp", "user_id", schema.Columns(`user_id text, secret bytes, key_id text, confirmed_at integer,
		last_step integer, created_at integer`), nil, 7},
	{"tag_renames", "id", schema.Columns(`id text, user_id text, old_tags text, new_tag text, created_at integer,
		changed integer, restored integer, undone_at integer`), nil, 8},
	{"renamed_notes", "rename_id, note_id",
		schema.Columns(`rename_id text, note_id text, tags text, created_at integer`), nil, 8},
	{"recovery_codes", "user_id, code_hash", schema.Columns("user_id text, code_hash bytes"), nil, 7},
}

// selectColumns returns those of the table's columns that are in found, in the table's order. The
// second result is the first name in found that is no column of a backup.
func (t dumpTable) selectColumns(found []string) (columns []schema.Column, unknown string) {
	for _, c := range t.columns {
		if slices.Contains(found, c.Name) {
			columns = append(columns, c)
		}
	}
	made := slices.Collect(maps.Values(t.folded))
	for _, name := range found {
		if !slices.Contains(schema.Names(t.columns), name) && !slices.Contains(made, name) {
			return columns, name
		}
	}
	return columns, ""
}

// scanTargets returns scan targets for one row: *int64, *string or *bool, which are nil for NULL,
// or []byte.
func scanTargets(columns []schema.Column) []any {
	row := make([]any, len(columns))
	for i, c := range columns {
		switch c.Kind {
		case schema.Text:
			row[i] = new(*string)
		case schema.Integer:
			row[i] = new(*int64)
		case schema.Boolean:
			row[i] = new(*bool)
		case schema.Bytes:
			row[i] = new([]byte)
		}
	}
	return row
}

// value returns the value of a scan target, in a form that both drivers accept.
func value(target any) any {
	switch p := target.(type) {
	case **string:
		return *p
	case **int64:
		return *p
	case **bool:
		return *p
	case *[]byte:
		return *p
	}
	return nil // JSON had null for bytes
}

// A backup's lines are a head, then for every table a section line and its rows, and a foot. All
// are JSON objects, except the rows, which are arrays in the order of the columns.
type (
	backupHead struct {
		Schema int64     `json:"schema"` // schema of the database
		Engine string    `json:"engine"` // the engine that it was taken from, for display
		Taken  time.Time `json:"taken"`
	}
	backupSection struct {
		Table   string   `json:"table"`
		Columns []string `json:"columns"`
	}
	backupFoot struct {
		Rows    map[string]int64 `json:"rows"`    // number of rows by table
		LastKey int64            `json:"lastKey"` // the largest key so far, not to be reused
	}
)

// Backup describes the contents of a backup.
type Backup struct {
	Schema int64
	Engine string
	Taken  time.Time
	Users  int64
	Notes  int64
	Rows   int64 // rows of all tables
}

func describe(head backupHead, foot backupFoot) Backup {
	b := Backup{Schema: head.Schema, Engine: head.Engine, Taken: head.Taken,
		Users: foot.Rows["users"], Notes: foot.Rows["notes"]}
	for _, n := range foot.Rows {
		b.Rows += n
	}
	return b
}

// A lineWriter writes values as lines.
type lineWriter struct {
	put  func(line []byte) error
	text bytes.Buffer
	json *json.Encoder
}

func newLineWriter(put func(line []byte) error) *lineWriter {
	w := &lineWriter{put: put}
	w.json = json.NewEncoder(&w.text)
	w.json.SetEscapeHTML(false)
	return w
}

func (w *lineWriter) write(v any) error {
	const much = 4 << 20
	if w.text.Cap() > much { // a long note's buffer is not kept for ever
		w.text = bytes.Buffer{}
	}
	w.text.Reset()
	if err := w.json.Encode(v); err != nil {
		return err
	}
	return w.put(bytes.TrimSuffix(w.text.Bytes(), []byte{'\n'}))
}

// row writes a row. It refuses text that is not UTF-8, which JSON would silently replace. The
// server never stores such text.
func (w *lineWriter) row(table string, row []any) error {
	for _, place := range row {
		if text, ok := place.(**string); ok && *text != nil && !utf8.ValidString(**text) {
			return fmt.Errorf("%s: the row of %v holds text that is not UTF-8", table, describeKey(row))
		}
	}
	return w.write(row)
}

// describeKey returns a row's first value, for display.
func describeKey(row []any) string {
	text, _ := json.Marshal(row[0])
	return string(text)
}

// ErrNotBackup: the input is not the output of Dump.
var ErrNotBackup = errors.New("not a backup of notesd")

// A lineReader reads a backup's lines and passes its rows on in batches.
type lineReader struct {
	next  func() ([]byte, error) // io.EOF: there are no more lines
	take  func(section dumpTable, rows [][]any) error
	rows  [][]any
	bytes int // size of the rows' lines
	foot  backupFoot
	count map[string]int64
}

// These are the bounds of a batch of rows. A single row may be larger than maxBatchBytes.
const (
	maxBatchRows  = 1000
	maxBatchBytes = 4 << 20

	// maxShortLine is the maximum length, in bytes, of a line that is no row. A row's line that is
	// longer is read value by value, since JSON may need much memory for it.
	maxShortLine = 64 << 10
)

// head reads the first line.
func (r *lineReader) head() (head backupHead, err error) {
	line, err := r.next()
	if err == nil && (len(line) > maxShortLine || json.Unmarshal(line, &head) != nil) || errors.Is(err, io.EOF) {
		err = ErrNotBackup
	}
	return head, err
}

// read reads everything that follows the head.
func (r *lineReader) read() error {
	r.count = map[string]int64{}
	var section dumpTable // its columns are those of the backup
	left := dumpTables
	for {
		line, err := r.next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it has no last line", ErrNotBackup)
		}
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte{'['}) {
			if err := r.row(section, line); err != nil {
				return err
			}
			continue
		}
		if err := r.flush(section); err != nil {
			return err
		}
		if len(line) > maxShortLine {
			return fmt.Errorf("%w: %.100q… is no line of one", ErrNotBackup, line)
		}
		if json.Unmarshal(line, &r.foot) == nil && r.foot.Rows != nil {
			return r.end()
		}
		section, left, err = beginSection(line, left)
		if err != nil {
			return err
		}
		r.count[section.name] = 0
	}
}

// beginSection parses the line that begins a table's rows. The table must be one of left.
// beginSection returns it and the tables that may follow.
func beginSection(line []byte, left []dumpTable) (dumpTable, []dumpTable, error) {
	var begin backupSection
	if err := json.Unmarshal(line, &begin); err != nil {
		return dumpTable{}, nil, fmt.Errorf("%w: %.100q is no line of one", ErrNotBackup, line)
	}
	i := slices.IndexFunc(left, func(t dumpTable) bool { return t.name == begin.Table })
	if i < 0 {
		return dumpTable{}, nil, fmt.Errorf("%w: it has a table %q where none belongs", ErrNotBackup, begin.Table)
	}
	t := left[i]
	columns, _ := t.selectColumns(begin.Columns)
	if !slices.Equal(schema.Names(columns), begin.Columns) {
		return dumpTable{}, nil, fmt.Errorf("%w: its table %s has the columns %q", ErrNotBackup, t.name, begin.Columns)
	}
	t.columns = columns
	return t, left[i+1:], nil
}

func (r *lineReader) row(section dumpTable, line []byte) error {
	row := scanTargets(section.columns)
	if !readRow(line, row) {
		return fmt.Errorf("%w: row %d of %s can't be read", ErrNotBackup, r.count[section.name]+1, section.name)
	}
	for i := range row {
		row[i] = value(row[i])
	}
	r.count[section.name]++
	r.rows = append(r.rows, row)
	r.bytes += len(line)
	if len(r.rows) < maxBatchRows && r.bytes < maxBatchBytes {
		return nil
	}
	return r.flush(section)
}

// readRow stores a row's values in places, and reports whether their number is right. A long line
// is read value by value, which is slower. Decoding the whole array would allocate memory for all
// the values that the line can hold.
func readRow(line []byte, targets []any) bool {
	if len(line) <= maxShortLine {
		row := targets
		return json.Unmarshal(line, &row) == nil && len(row) == len(targets) && len(row) > 0
	}
	in := json.NewDecoder(bytes.NewReader(line))
	if begin, err := in.Token(); err != nil || begin != json.Delim('[') {
		return false
	}
	for i := range targets {
		if !in.More() || in.Decode(&targets[i]) != nil {
			return false
		}
	}
	end, err := in.Token()
	if err != nil || end != json.Delim(']') || len(targets) == 0 {
		return false
	}
	_, err = in.Token()
	return errors.Is(err, io.EOF)
}

func (r *lineReader) flush(section dumpTable) error {
	if len(r.rows) == 0 {
		return nil
	}
	err := r.take(section, r.rows)
	clear(r.rows)
	r.rows, r.bytes = r.rows[:0], 0
	return err
}

// end compares the number of rows with the foot, and checks that no line follows the foot.
func (r *lineReader) end() error {
	if !maps.Equal(r.foot.Rows, r.count) {
		return fmt.Errorf("%w: it says that it has the rows %v, and has %v", ErrNotBackup, r.foot.Rows, r.count)
	}
	switch _, err := r.next(); {
	case err == nil:
		return fmt.Errorf("%w: something follows its last line", ErrNotBackup)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// Check reads a backup line by line, as Restore does, and changes nothing.
func Check(next func() ([]byte, error)) (Backup, error) {
	r := lineReader{next: next, take: func(dumpTable, [][]any) error { return nil }}
	head, err := r.head()
	if err != nil {
		return Backup{}, err
	}
	if err := r.read(); err != nil {
		return Backup{}, err
	}
	return describe(head, r.foot), nil
}
