package store_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// TestModel does at random what people do with notes, on the store and on a
// model of it in memory, and compares all that can be seen of the two.
func TestModel(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		rapid.Check(t, func(rt *rapid.T) {
			m := newModel(s, newOwner(t, s), newOwner(t, s))
			rt.Repeat(map[string]func(*rapid.T){
				"create":  m.create,
				"get":     m.get,
				"patch":   m.patch,
				"flip":    m.flip,
				"delete":  m.delete,
				"version": m.version,
				"quota":   m.setQuota,
				"list":    m.list,
				"pages":   m.pages,
				"":        m.compareCounters,
			})
			m.compareTables(rt)
		})
	})
}

// model is what two people's part of a store should look like.
type model struct {
	s          *store.Store
	owners     []string
	notes      map[string]notes.Note // by id
	ids        []string              // of all notes there ever were, and of one there never was
	counters   map[string]store.Counters
	keys       map[string]usedKey // by owner and idempotency key
	tombstones []tombstone
	history    map[string][]notes.Note // by id, the newest last
}

type usedKey struct {
	hash string
	id   string
}

type tombstone struct {
	UserID    string
	ChangeSeq int64
	NoteID    string
}

func newModel(s *store.Store, owners ...string) *model {
	return &model{
		s:        s,
		owners:   owners,
		notes:    map[string]notes.Note{},
		ids:      []string{"no such note"},
		counters: map[string]store.Counters{},
		keys:     map[string]usedKey{},
		history:  map[string][]notes.Note{},
	}
}

// Words whose folded forms meet, or that mean something to SQL or JSON.
var (
	words = rapid.SampledFrom([]string{
		"a", "A", "ä", "Ä", "A\u0308", "z", "ß", "SS", "%", "_", `\`, `"`, "日本", "🎉", " ",
	})
	text  = rapid.Map(rapid.SliceOfN(words, 0, 4), func(words []string) string { return strings.Join(words, "") })
	title = rapid.Map(rapid.SliceOfN(words, 1, 3), func(words []string) string { return strings.Join(words, "") })
	tags  = rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"x", "X", "y", "a,b", "ä", "'"}), 0, 3),
		func(tags []string) []string { return append([]string{}, tags...) })
	color = rapid.Ptr(rapid.SampledFrom([]string{"red", "blue", ""}), true)
	flags = rapid.Bool()
)

// equalEmpty takes a list of nothing for no list.
var equalEmpty = cmpopts.EquateEmpty()

func (m *model) owner(t *rapid.T) string { return rapid.SampledFrom(m.owners).Draw(t, "owner") }

// pick draws a person and a note that is mostly theirs.
func (m *model) pick(t *rapid.T) (owner, id string) {
	owner, id = m.owner(t), rapid.SampledFrom(m.ids).Draw(t, "id")
	if note, found := m.notes[id]; found && rapid.IntRange(0, 9).Draw(t, "stranger") > 0 {
		owner = note.UserID
	}
	return owner, id
}

// find is the note that owner sees under id.
func (m *model) find(owner, id string) (notes.Note, error) {
	note, found := m.notes[id]
	if !found || note.UserID != owner {
		return notes.Note{}, store.ErrNotFound
	}
	return note, nil
}

func (m *model) create(t *rapid.T) {
	owner := m.owner(t)
	in := notes.NewNote{
		Title:    title.Draw(t, "title"),
		Content:  text.Draw(t, "content"),
		Tags:     tags.Draw(t, "tags"),
		Color:    color.Draw(t, "color"),
		Pinned:   flags.Draw(t, "pinned"),
		Favorite: flags.Draw(t, "favorite"),
		Archived: flags.Draw(t, "archived"),
		Markdown: flags.Draw(t, "markdown"),
	}
	if in.IdempotencyKey = rapid.SampledFrom([]string{"", "", "k", "K"}).Draw(t, "key"); in.IdempotencyKey != "" {
		in.BodyHash = []byte(rapid.SampledFrom([]string{"1", "2"}).Draw(t, "hash"))
	}
	began := time.Now().Truncate(time.Millisecond)
	got, err := m.s.CreateNote(t.Context(), owner, in)

	key := owner + in.IdempotencyKey
	if used, found := m.keys[key]; found {
		want, wantErr := m.find(owner, used.id)
		if used.hash != string(in.BodyHash) {
			want, wantErr = notes.Note{}, store.ErrIdempotency
		}
		compare(t, "CreateNote with a used key", got, err, want, wantErr)
		return
	}
	want := notes.Note{
		Key: got.Key, ID: got.ID, UserID: owner, Title: in.Title, Content: in.Content, Tags: in.Tags, Color: in.Color,
		Pinned: in.Pinned, Favorite: in.Favorite, Archived: in.Archived, Markdown: in.Markdown,
		CreatedAt: got.CreatedAt, UpdatedAt: got.CreatedAt, Revision: 1, ChangeSeq: m.counters[owner].ChangeSeq + 1,
	}
	if m.exceeds(owner, 1, size(want)) {
		compare(t, "CreateNote", got, err, notes.Note{}, store.ErrQuota)
		return
	}
	compare(t, "CreateNote", got, err, want, nil)
	if got.CreatedAt.Before(began) || got.CreatedAt.After(time.Now()) {
		t.Fatalf("CreateNote's date is %v, want now", got.CreatedAt)
	}
	if slices.Contains(m.ids, got.ID) {
		t.Fatalf("CreateNote made the id %s again", got.ID)
	}
	m.notes[got.ID] = want
	m.ids = append(m.ids, got.ID)
	m.count(owner, 1, size(want))
	if in.IdempotencyKey != "" {
		m.keys[key] = usedKey{string(in.BodyHash), got.ID}
	}
}

func (m *model) get(t *rapid.T) {
	owner, id := m.pick(t)
	got, err := m.s.Note(t.Context(), owner, id)
	want, wantErr := m.find(owner, id)
	compare(t, "Note", got, err, want, wantErr)
}

func (m *model) patch(t *rapid.T) {
	owner, id := m.pick(t)
	old, wantErr := m.find(owner, id)
	flag := rapid.Ptr(flags, true)
	p := notes.Patch{
		Title:    rapid.Ptr(title, true).Draw(t, "title"),
		Content:  rapid.Ptr(text, true).Draw(t, "content"),
		Tags:     rapid.Ptr(tags, true).Draw(t, "tags"),
		SetColor: flags.Draw(t, "set color"),
		Color:    color.Draw(t, "color"),
		Pinned:   flag.Draw(t, "pinned"),
		Favorite: flag.Draw(t, "favorite"),
		Archived: flag.Draw(t, "archived"),
		Markdown: flag.Draw(t, "markdown"),
	}
	preconditions, allowed := drawRevisions(t, old)
	call := m.s.PatchNote
	switch trash := flag.Draw(t, "trash"); {
	case trash == nil:
	case rapid.Bool().Draw(t, "only that"):
		p = notes.Patch{Trashed: trash}
		if *trash {
			call = m.trash
		} else {
			call = m.restore
		}
	default:
		p.Trashed = trash
	}
	got, err := call(t.Context(), owner, id, p, preconditions...)

	want := patched(old, p, got.UpdatedAt)
	switch {
	case wantErr != nil:
		compare(t, "PatchNote", got, err, notes.Note{}, wantErr)
	case !allowed:
		compareChanged(t, "PatchNote", err, old)
	case gocmp.Equal(want, old):
		compare(t, "PatchNote with nothing new", got, err, old, nil)
	case m.exceeds(owner, 0, size(want)-size(old)):
		compare(t, "PatchNote", got, err, notes.Note{}, store.ErrQuota)
	default:
		m.change(t, "PatchNote", old, want, got, err)
	}
}

func (m *model) trash(ctx context.Context, owner, id string, _ notes.Patch, preconditions ...store.Precondition) (notes.Note, error) {
	return m.s.TrashNote(ctx, owner, id, preconditions...)
}

func (m *model) restore(ctx context.Context, owner, id string, _ notes.Patch, preconditions ...store.Precondition) (notes.Note, error) {
	return m.s.RestoreNote(ctx, owner, id, preconditions...)
}

// drawRevisions draws preconditions, and tells whether note meets them.
func drawRevisions(t *rapid.T, note notes.Note) (preconditions []store.Precondition, allowed bool) {
	preconditions, allowed = drawPreconditions(t), true
	for _, p := range preconditions {
		allowed = allowed && p.Holds(note.Revision, note.UpdatedAt)
	}
	return preconditions, allowed
}

// compareChanged expects that err brings the note as it stands.
func compareChanged(t *rapid.T, call string, err error, want notes.Note) {
	changed, ok := errors.AsType[*store.ChangedError](err)
	if !ok {
		t.Fatalf("%s of another revision = %v, want %v", call, err, store.ErrChanged)
	}
	compare(t, call+" of another revision", changed.Current, nil, want, nil)
}

func (m *model) flip(t *rapid.T) {
	owner, id := m.pick(t)
	want, wantErr := m.find(owner, id)
	old := want
	flag := rapid.SampledFrom([]notes.Flag{notes.FlagPinned, notes.FlagFavorite, notes.FlagArchived}).Draw(t, "flag")
	switch flag {
	case notes.FlagPinned:
		want.Pinned = !want.Pinned
	case notes.FlagFavorite:
		want.Favorite = !want.Favorite
	case notes.FlagArchived:
		want.Archived = !want.Archived
	}
	preconditions, allowed := drawRevisions(t, old)
	got, err := m.s.ToggleNote(t.Context(), owner, id, flag, preconditions...)
	if wantErr != nil {
		compare(t, "ToggleNote", got, err, notes.Note{}, wantErr)
		return
	}
	if !allowed {
		compareChanged(t, "ToggleNote", err, old)
		return
	}
	m.change(t, "ToggleNote", old, want, got, err)
}

// change expects that call turned old into want, and got's date to be right.
func (m *model) change(t *rapid.T, call string, old, want, got notes.Note, err error) {
	want.Revision = old.Revision + 1
	want.ChangeSeq = m.counters[old.UserID].ChangeSeq + 1
	want.UpdatedAt = got.UpdatedAt
	compare(t, call, got, err, want, nil)
	if least, most := old.UpdatedAt.Add(time.Millisecond), time.Now(); got.UpdatedAt.Before(least) ||
		got.UpdatedAt.After(most) && !got.UpdatedAt.Equal(least) {
		t.Fatalf("%s at %v after a change at %v set %v", call, most, old.UpdatedAt, got.UpdatedAt)
	}
	m.notes[old.ID] = want
	m.history[old.ID] = append(m.history[old.ID], old)
	m.count(old.UserID, 0, size(want)-size(old))
	m.trimHistory(old.UserID)
}

// version reads a version of a note, which is there if it was one and the quota had room for it.
func (m *model) version(t *rapid.T) {
	owner, id := m.pick(t)
	note, wantErr := m.find(owner, id)
	revision := rapid.Int64Range(0, note.Revision+1).Draw(t, "revision")
	got, err := m.s.Version(t.Context(), owner, id, revision)
	if wantErr != nil {
		compare(t, "Version", got.Note, err, notes.Note{}, wantErr)
		return
	}
	if revision == note.Revision {
		compare(t, "Version", got.Note, err, note, nil)
		return
	}
	for _, was := range m.history[id] {
		if was.Revision == revision {
			was.ChangeSeq = 0
			compare(t, "Version", got.Note, err, was, nil)
			return
		}
	}
	compare(t, "Version", got.Note, err, notes.Note{}, store.ErrVersionGone)
}

// versionSize is what a version counts for in its owner's history.
func versionSize(note notes.Note) int64 {
	return 150 + size(note) - int64(len(note.Tags))*store.TagCost
}

// trimHistory counts owner's history, and removes the oldest versions if it exceeds the quota.
func (m *model) trimHistory(owner string) {
	var all []notes.Note
	for id, versions := range m.history {
		if m.notes[id].UserID == owner {
			all = append(all, versions...)
		}
	}
	slices.SortFunc(all, func(a, b notes.Note) int {
		return cmp.Or(b.UpdatedAt.Compare(a.UpdatedAt), cmp.Compare(b.Key, a.Key), cmp.Compare(b.Revision, a.Revision))
	})
	c := m.counters[owner]
	c.HistoryBytes = 0
	for _, note := range all {
		c.HistoryBytes += versionSize(note)
	}
	if c.QuotaBytes != nil && c.HistoryBytes > *c.QuotaBytes {
		c.HistoryBytes = 0
		for i, note := range all {
			if c.HistoryBytes+versionSize(note) <= *c.QuotaBytes-*c.QuotaBytes/10 {
				c.HistoryBytes += versionSize(note)
				continue
			}
			for _, old := range all[i:] {
				m.history[old.ID] = slices.DeleteFunc(m.history[old.ID], func(n notes.Note) bool { return n.Revision == old.Revision })
			}
			break
		}
	}
	m.counters[owner] = c
}

func (m *model) delete(t *rapid.T) {
	owner, id := m.pick(t)
	old, wantErr := m.find(owner, id)
	call := m.s.DeleteNote
	if rapid.Bool().Draw(t, "trashed") {
		call = m.s.DeleteTrashedNote
		if !old.Trashed {
			wantErr = store.ErrNotFound
		}
	}
	preconditions, allowed := drawRevisions(t, old)
	err := call(t.Context(), owner, id, preconditions...)
	if wantErr == nil && !allowed {
		compareChanged(t, "delete", err, old)
		return
	}
	if !errors.Is(err, wantErr) {
		t.Fatalf("delete = %v, want %v", err, wantErr)
	}
	if wantErr != nil {
		return
	}
	delete(m.notes, id)
	m.count(owner, -1, -size(old))
	m.tombstones = append(m.tombstones, tombstone{owner, m.counters[owner].ChangeSeq, id})
	counters := m.counters[owner]
	for _, was := range m.history[id] {
		counters.HistoryBytes -= versionSize(was)
	}
	m.counters[owner] = counters
	delete(m.history, id)
}

func (m *model) setQuota(t *rapid.T) {
	owner := m.owner(t)
	counters := m.counters[owner]
	counters.QuotaNotes = rapid.Ptr(rapid.Int64Range(0, 8), true).Draw(t, "notes")
	counters.QuotaBytes = rapid.Ptr(rapid.Int64Range(0, 80+3*store.NoteCost), true).Draw(t, "bytes")
	if err := m.s.SetQuota(t.Context(), owner, counters.QuotaNotes, counters.QuotaBytes); err != nil {
		t.Fatal(err)
	}
	m.counters[owner] = counters
}

func (m *model) list(t *rapid.T) {
	owner, q := m.owner(t), listQuery(t)
	want := m.listed(owner, q)
	refs, err := m.s.NoteRefs(t.Context(), owner, q)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.s.NotesByRef(t.Context(), owner, refs)
	if diff := gocmp.Diff(want, got, equalEmpty); diff != "" || err != nil {
		t.Fatalf("the list of %+v has error %v and differs (-want +got):\n%s", q, err, diff)
	}
	for i, ref := range refs {
		if ref.Bytes != size(want[i]) {
			t.Fatalf("the list of %+v has %d bytes at %d, want %d", q, ref.Bytes, i, size(want[i]))
		}
	}
}

// pages reads a list page by page, each from where the one before it ended.
func (m *model) pages(t *rapid.T) {
	owner, q := m.owner(t), listQuery(t)
	q.Limit = rapid.IntRange(1, 4).Draw(t, "limit")
	want := m.listed(owner, q)
	var got []int64
	for len(got) <= len(want) { // more is wrong already, and might never end
		refs, err := m.s.NoteRefs(t.Context(), owner, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			got = append(got, ref.Key)
		}
		if len(refs) < q.Limit {
			break
		}
		q.After = &refs[len(refs)-1].Position
	}
	if diff := gocmp.Diff(keys(want), got, equalEmpty); diff != "" {
		t.Fatalf("the pages of %+v differ from the list (-want +got):\n%s", q, diff)
	}
}

// listQuery draws a query without pages.
func listQuery(t *rapid.T) notes.Query {
	return notes.Query{
		Search:    rapid.OneOf(rapid.Just(""), text).Draw(t, "search"),
		Tags:      rapid.OneOf(rapid.Just[[]string](nil), tags).Draw(t, "tags"),
		Archived:  flags.Draw(t, "archived"),
		Trashed:   flags.Draw(t, "trashed"),
		Sort:      rapid.SampledFrom([]notes.Sort{notes.ByUpdated, notes.ByCreated, notes.ByTitle}).Draw(t, "sort"),
		Ascending: flags.Draw(t, "ascending"),
	}
}

// listed is q's list of owner's notes, without pages.
func (m *model) listed(owner string, q notes.Query) []notes.Note {
	made := slices.Collect(maps.Values(m.notes))
	made = slices.DeleteFunc(made, func(n notes.Note) bool {
		wanted := n.UserID == owner && n.Trashed == q.Trashed && (q.Trashed || n.Archived == q.Archived)
		needle := notes.Fold(q.Search)
		wanted = wanted && (strings.Contains(notes.Fold(n.Title), needle) || strings.Contains(notes.Fold(n.Content), needle))
		return !wanted || len(q.Tags) > 0 && !slices.ContainsFunc(n.Tags, func(tag string) bool {
			return slices.Contains(q.Tags, tag)
		})
	})
	slices.SortFunc(made, func(a, b notes.Note) int {
		var order int
		switch q.Sort {
		case notes.ByUpdated:
			order = a.UpdatedAt.Compare(b.UpdatedAt)
		case notes.ByCreated:
			order = a.CreatedAt.Compare(b.CreatedAt)
		case notes.ByTitle:
			order = strings.Compare(notes.Fold(a.Title), notes.Fold(b.Title))
		}
		order = cmp.Or(order, strings.Compare(a.ID, b.ID))
		if !q.Ascending {
			order = -order
		}
		if q.Trashed {
			return order
		}
		return cmp.Or(first(a.Favorite, b.Favorite), first(a.Pinned, b.Pinned), order)
	})
	return made
}

// first orders what is true before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// compareCounters is called after every step: no call changes what it should not.
func (m *model) compareCounters(t *rapid.T) {
	for _, owner := range m.owners {
		got, err := m.s.Counters(t.Context(), owner)
		if diff := gocmp.Diff(m.counters[owner], got); diff != "" || err != nil {
			t.Fatalf("Counters() have error %v and differ (-want +got):\n%s", err, diff)
		}
	}
}

// compareTables compares what no method shows.
func (m *model) compareTables(t *rapid.T) {
	var tombstones []tombstone
	err := m.s.DB().Raw(`SELECT user_id, change_seq, note_id FROM tombstones WHERE user_id IN ?`, m.owners).
		Scan(&tombstones).Error
	byPlace := func(a, b tombstone) int {
		return cmp.Or(strings.Compare(a.UserID, b.UserID), cmp.Compare(a.ChangeSeq, b.ChangeSeq))
	}
	slices.SortFunc(tombstones, byPlace)
	slices.SortFunc(m.tombstones, byPlace)
	if diff := gocmp.Diff(m.tombstones, tombstones, equalEmpty); diff != "" || err != nil {
		t.Fatalf("the tombstones have error %v and differ (-want +got):\n%s", err, diff)
	}

	type searched struct {
		ID                         string
		TitleFolded, ContentFolded string
		Bytes                      int64
	}
	var want, got []searched
	for _, note := range m.notes {
		want = append(want, searched{note.ID, notes.Fold(note.Title), notes.Fold(note.Content), size(note)})
	}
	err = m.s.DB().Raw(`SELECT id, title_folded, content_folded, bytes FROM notes JOIN note_search ON note_key = key
		WHERE user_id IN ?`, m.owners).Scan(&got).Error
	byID := func(a, b searched) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(want, byID)
	slices.SortFunc(got, byID)
	if diff := gocmp.Diff(want, got, equalEmpty); diff != "" || err != nil {
		t.Fatalf("what is searched has error %v and differs (-want +got):\n%s", err, diff)
	}
}

func (m *model) count(owner string, notes, bytes int64) {
	counters := m.counters[owner]
	counters.ChangeSeq++
	counters.Notes += notes
	counters.Bytes += bytes
	m.counters[owner] = counters
}

// exceeds reports whether owner has no room for so much more.
func (m *model) exceeds(owner string, notes, bytes int64) bool {
	c := m.counters[owner]
	return notes > 0 && c.QuotaNotes != nil && c.Notes+notes > *c.QuotaNotes ||
		bytes+notes*store.NoteCost > 0 && c.QuotaBytes != nil && c.Used()+bytes+notes*store.NoteCost > *c.QuotaBytes
}

// patched is note after p, trashed at when if p does that.
func patched(note notes.Note, p notes.Patch, when time.Time) notes.Note {
	set := func(field, value *bool) {
		if value != nil {
			*field = *value
		}
	}
	note.Title = *cmp.Or(p.Title, &note.Title)
	note.Content = *cmp.Or(p.Content, &note.Content)
	note.Tags = *cmp.Or(p.Tags, &note.Tags)
	set(&note.Pinned, p.Pinned)
	set(&note.Favorite, p.Favorite)
	set(&note.Archived, p.Archived)
	set(&note.Markdown, p.Markdown)
	if p.SetColor {
		note.Color = p.Color
	}
	if p.Trashed != nil && note.Trashed != *p.Trashed {
		note.Trashed, note.TrashedAt = *p.Trashed, nil
		if note.Trashed {
			note.TrashedAt = &when
		}
	}
	return note
}

// size is what a note counts for in its owner's bytes.
func size(note notes.Note) int64 {
	return int64(len(note.Title) + len(note.Content) + len(strings.Join(note.Tags, "")) + len(note.Tags)*store.TagCost)
}

func keys(notes []notes.Note) (keys []int64) {
	for _, note := range notes {
		keys = append(keys, note.Key)
	}
	return keys
}

// compare fails the test unless a call returned what it should have.
func compare(t *rapid.T, call string, got notes.Note, err error, want notes.Note, wantErr error) {
	t.Helper()
	if !errors.Is(err, wantErr) {
		t.Fatalf("%s = %v, want %v", call, err, wantErr)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("%s differs (-want +got):\n%s", call, diff)
	}
}
