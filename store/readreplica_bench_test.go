package store_test

import (
	"fmt"
	"strings"
	"testing"

	"notesd/store"
	"notesd/store/storetest"
)

// BenchmarkReadReplica is what a list costs that is read on the replica, beside
// one that is read on the primary. primary-ns/op is the time that the primary
// works for it, which other work on the machine does not change much.
func BenchmarkReadReplica(b *testing.B) {
	primary := storetest.NewPostgres(b)
	p := pair{primary: primary, standby: primary.Standby(b)}.fresh(b, "notes")
	replicated, _ := p.open(b, p.replica, true)
	plain := storetest.Open(b, p.url)
	owner := newOwner(b, plain)
	for i := range 1000 {
		newNote(b, plain, owner, store.NewNote{Title: fmt.Sprint("title ", i), Content: strings.Repeat("Lorem ipsum. ", 80)})
	}
	exec(b, plain, "VACUUM ANALYZE")
	primary.Execute(b, "CHECKPOINT")
	awaitList(b, replicated, owner)
	page, err := plain.NoteRefs(b.Context(), owner, store.ListQuery{Limit: 50})
	if err != nil {
		b.Fatal(err)
	}
	refs := func(q store.ListQuery) func(s *store.Store) error {
		return func(s *store.Store) error { _, err := s.NoteRefs(b.Context(), owner, q); return err }
	}
	notes := func(n int) func(s *store.Store) error {
		return func(s *store.Store) error { _, err := s.NotesByRef(b.Context(), owner, page[:n]); return err }
	}
	for _, bench := range []struct {
		name string
		call func(s *store.Store) error
	}{
		{"page of 50", refs(store.ListQuery{Limit: 50})},
		{"refs of 1000", refs(store.ListQuery{})},
		{"search of 1000", refs(store.ListQuery{Search: "in vain"})},
		{"1 note", notes(1)},
		{"5 notes", notes(5)},
		{"50 notes", notes(50)},
	} {
		for _, at := range []struct {
			name string
			s    *store.Store
		}{{"primary", plain}, {"replica", replicated}} {
			b.Run(bench.name+"/"+at.name, func(b *testing.B) {
				before := primary.CPU(b)
				for b.Loop() {
					if err := bench.call(at.s); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(primary.CPU(b)-before)/float64(b.N), "primary-ns/op")
			})
		}
	}
}
