package store_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// BenchmarkNotes is what a call costs one person who has a thousand notes of a
// kilobyte, without HTTP. "together" has as many people calling as -cpu says.
func BenchmarkNotes(b *testing.B) {
	for _, engine := range []struct {
		name string
		url  func(testing.TB) string
	}{{"SQLite", storetest.EmptySQLite}, {"PostgreSQL", storetest.Postgres}} {
		b.Run(engine.name, func(b *testing.B) { benchmarkNotes(b, storetest.Open(b, engine.url(b))) })
	}
}

func benchmarkNotes(b *testing.B, s *store.Store) {
	in := notes.NewNote{Title: "A title", Content: strings.Repeat("Lorem ipsum. ", 80), Tags: []string{"one", "two"}}
	owner := newOwner(b, s)
	var note notes.Note
	for range 1000 {
		note = newNote(b, s, owner, in)
	}
	var changes atomic.Int64
	for _, bench := range []struct {
		name string
		call func(owner string) error
	}{
		{"get", func(string) error { _, err := s.Note(b.Context(), owner, note.ID); return err }},
		{"list of 50", func(string) error {
			refs, err := s.NoteRefs(b.Context(), owner, notes.Query{Limit: 50})
			if err == nil {
				_, err = s.NotesByRef(b.Context(), owner, refs)
			}
			return err
		}},
		{"list of refs", func(string) error { _, err := s.NoteRefs(b.Context(), owner, notes.Query{}); return err }},
		{"search of all", func(string) error {
			_, err := s.NoteRefs(b.Context(), owner, notes.Query{Search: "in vain"})
			return err
		}},
		{"create", func(owner string) error { _, err := s.CreateNote(b.Context(), owner, in); return err }},
		{"flip", func(string) error { _, err := s.ToggleNote(b.Context(), owner, note.ID, notes.FlagPinned); return err }},
		{"patch", func(string) error {
			content := fmt.Sprint(in.Content, changes.Add(1))
			_, err := s.PatchNote(b.Context(), owner, note.ID, notes.Patch{Content: &content})
			return err
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if err := bench.call(owner); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bench.name+", together", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				owner := newOwner(b, s)
				for pb.Next() {
					if err := bench.call(owner); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
