package store_test

import (
	"cmp"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"notesd/bench/lab"
	"notesd/internal/heavy"
	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/notes"
	"notesd/notes/query"
	"notesd/store"
	"notesd/store/storetest"
)

// BenchmarkSearch is what a search costs a person who has SEARCH_NOTES notes of a
// kilobyte, 50 000 unless it says otherwise, between as many of another: the making
// of an index, the searches, by two at once, the first one of a server, and one while
// there is no index. Words are those of `make prove NAME=growth`.
func BenchmarkSearch(b *testing.B) {
	notes, err := strconv.Atoi(cmp.Or(os.Getenv("SEARCH_NOTES"), "50000"))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("SQLite", func(b *testing.B) { benchmarkSearch(b, storetest.EmptySQLite(b), notes) })
	b.Run("PostgreSQL", func(b *testing.B) {
		benchmarkSearch(b, testserver.NewPostgres(b, "shared_buffers=128MB", "effective_cache_size=320MB", "random_page_cost=1.1").
			Database(b, "notes")+"&connect_timeout=30", notes)
	})
}

func benchmarkSearch(b *testing.B, url string, made int) {
	s := openFresh(b, url)
	newOwner(b, s)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	owner, words, err := lab.Seed(b.Context(), url, made)
	if err != nil {
		b.Fatal(err)
	}
	s = storetest.Open(b, url)
	if err := s.MakeLists(b.Context(), owner, store.SegmentNotes); err != nil {
		b.Fatal(err)
	}
	search := func(b *testing.B, word string) time.Duration {
		began := time.Now()
		refs, err := s.NoteRefs(b.Context(), owner, notes.Query{Search: word, Limit: 51})
		if err == nil {
			_, err = s.NotesByRef(b.Context(), owner, refs)
		}
		if err != nil {
			b.Error(err)
		}
		return time.Since(began)
	}
	b.Run("making", func(b *testing.B) {
		var took [2]float64
		for b.Loop() {
			b.StopTimer()
			exec(b, s, "DELETE FROM search_index")
			before := cpuMillis(b, s)
			b.StartTimer()
			if err := s.MakeLists(b.Context(), owner, store.SegmentNotes); err != nil {
				b.Fatal(err)
			}
			after := cpuMillis(b, s)
			took[0], took[1] = took[0]+after[0]-before[0], took[1]+after[1]-before[1]
		}
		reportMillis(b, [2]float64{}, took)
	})
	if s.Engine() == "PostgreSQL" {
		exec(b, s, "VACUUM ANALYZE")
	}
	for _, kind := range []string{"common", "rare", "absent"} {
		b.Run(kind, func(b *testing.B) {
			ms := cpuMillis(b, s)
			benchmarkSearches(b, words[kind], search)
			reportMillis(b, ms, cpuMillis(b, s))
		})
	}
	for _, kind := range []string{"common", "rare", "absent"} {
		b.Run("words/"+kind, func(b *testing.B) {
			ms := cpuMillis(b, s)
			benchmarkSearches(b, pairs(words[kind], words["common"]), func(b *testing.B, pair string) time.Duration {
				return searchWords(b, s, owner, pair)
			})
			reportMillis(b, ms, cpuMillis(b, s))
		})
	}
	b.Run("first", func(b *testing.B) { // since the server has started
		for b.Loop() {
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			s = storetest.Open(b, url)
			b.StartTimer()
			search(b, words["absent"][0])
		}
	})
	b.Run("unindexed", func(b *testing.B) { // which has an index made in the background
		for b.Loop() {
			b.StopTimer()
			exec(b, s, "DELETE FROM search_index")
			b.StartTimer()
			search(b, words["absent"][0])
		}
	})
}

// pairs are queries of a word of each list.
func pairs(one, other []string) (queries []string) {
	for i, word := range one {
		queries = append(queries, word+" "+other[(i+5)%len(other)])
	}
	return queries
}

// searchWords reads a page of the notes that two words find, and where in them the words are.
func searchWords(b *testing.B, s *store.Store, owner, words string) time.Duration {
	began := time.Now()
	refs, err := s.NoteRefs(b.Context(), owner, notes.Query{Words: words, Sort: notes.ByRank, Limit: 51})
	if err != nil {
		b.Error(err)
	}
	page, err := s.NotesByRef(b.Context(), owner, refs)
	if err != nil {
		b.Error(err)
	}
	q := query.Parse(words)
	for _, n := range page {
		if _, err := q.Hits(b.Context(), &n, heavy.Do); err != nil {
			b.Error(err)
		}
	}
	return time.Since(began)
}

// cpuMillis is what this process has used, and those of PostgreSQL.
func cpuMillis(b *testing.B, s *store.Store) [2]float64 {
	return [...]float64{float64(cpuTime(b).Microseconds()) / 1000, float64(serverTime(b, s).Microseconds()) / 1000}
}

func reportMillis(b *testing.B, before, after [2]float64) {
	b.ReportMetric((after[0]-before[0])/float64(b.N), "cpu-ms/op")
	if after[1] > 0 {
		b.ReportMetric((after[1]-before[1])/float64(b.N), "server-ms/op")
	}
}

// benchmarkSearches has two search for one word after another.
func benchmarkSearches(b *testing.B, words []string, search func(b *testing.B, word string) time.Duration) {
	var took [2][]time.Duration
	var both sync.WaitGroup
	for who := range took {
		both.Go(func() {
			for i := who; i < b.N; i += len(took) {
				took[who] = append(took[who], search(b, words[i/2%len(words)]))
			}
		})
	}
	both.Wait()
	reportQuantiles(b, took[:])
}

// BenchmarkTrigramIndex is what it costs to insert the folded text of a note of a
// kilobyte, a commit each, into a table like note_search, and into one with
// PostgreSQL's own index of trigrams.
func BenchmarkTrigramIndex(b *testing.B) {
	const notes = 5000
	url := storetest.Postgres(b)
	s := openFresh(b, url)
	newOwner(b, s)
	if _, _, err := lab.Seed(b.Context(), url, notes); err != nil {
		b.Fatal(err)
	}
	for _, table := range []struct{ name, index string }{
		{"without", ""}, {"with", "CREATE INDEX ON other_search USING gin (content_folded gin_trgm_ops)"},
	} {
		b.Run(table.name, func(b *testing.B) {
			exec(b, s, "CREATE EXTENSION IF NOT EXISTS pg_trgm")
			exec(b, s, "DROP TABLE IF EXISTS other_search")
			exec(b, s, "CREATE TABLE other_search (LIKE note_search)")
			if table.index != "" {
				exec(b, s, table.index)
			}
			for n := int64(0); b.Loop(); n++ {
				exec(b, s, "INSERT INTO other_search SELECT * FROM note_search WHERE note_key = ?", n%(2*notes)+1)
			}
		})
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// openFresh is a store on a database that is to be filled when it is closed again.
func openFresh(b *testing.B, url string) *store.Store {
	s, err := store.Open(b.Context(), store.Config{URL: url, Log: testkit.Log(b)})
	if err == nil {
		err = s.WaitReady(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	return s
}
