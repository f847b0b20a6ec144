package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"notesd/notes"
	"notesd/notes/query"
	"notesd/store"
	"notesd/store/storetest"
)

// texts are the sentences of the corpus that TestWords searches.
var texts = []string{
	"Das Café an der Straße nach Łódź", "Ein Cafe in der Strasse", "Øslo und Ålesund im Winter", "Điện thoại mới của tôi",
	"İstanbul'da bir gün, ıstanbul değil", "Crème brûlée à la façon de l'œuvre", "El niño comió piñata", "Þingvellir er fallegur staður",
	"Съешь ещё этих мягких французских булок", "мой дом, мои книги", "Ёлка и елка, её же", "її зошит і їжак у полі",
	"ὠμέγα καὶ ἄλφα, Σίσυφος", "Το καφέ είναι ζεστό", "שָׁלוֹם עולם", "שלום לכולם", "السَّلامُ عَلَيْكُم يا أحمد", "احمد و محمد مُحَمَّد",
	"किताब मेज़ पर है", "कुताब नहीं, क्षितिज", "กิน ข้าวผัด กับน้ำปลา", "กน ก็ไม่มี", "東京都庁の展望台", "京都の寺、がっこう と かっこう",
	"ﾊﾟｿｺﾝとパソコン", "다람쥐 각과 가", "각설탕 한 봉지", "ＦＵＬＬ width and ½ cup", "C++ and C# in 2026, first-class", "emoji ❤\ufe0f and 👩\u200d🚀",
	"the quick brown fox\njumps over the lazy dog", "Fox, foxes and a foxglove", "100% of a_b in C:\\dir", "no\u00adbreak soft\u00adhyphen",
}

// queries are what TestWords asks for.
var queries = []string{
	"cafe", "Café strasse", "strasse cafe", "straße", "oslo", "ålesund winter", "dien", "điện thoại", "istanbul", "ıstanbul gun", "oeuvre",
	"œuvre creme", "nino", "pinata comio", "thing", "þing", "еще", "ещё булок", "мой", "мои", "елка", "ёлка ее", "ї", "їжак", "ωμεγα", "ΣΊΣΥΦΟΣ",
	"καφε", "שלום", "שָׁלוֹם -עולם", "السلام", "احمد", "محمد", "किताब", "कुताब", "क्षि", "กิน", "กน", "น้ำ", "京都", "東京 展望", "か", "が", "がっこう", "パソコン",
	"ﾊﾟ", "각", "가", "full ½", "c++", "c#", "first-class", "❤", "fox", `"brown fox jumps"`, `"fox brown"`, "fox -quick", "-fox -cafe a",
	"o", "100%", "a_b", `c:\dir`, "nobreak", "tag:rot", "tag:ROT fox", `tag:"zwei worte"`, "-tag:rot e", "rot", "is:pinned", "is:pinned e", "is:trashed",
	"is:archived a", "is:trashed is:archived", "-is:markdown is:favorite", "color:blau", "before:2026-01-10", "after:2026-01-20 e", "created:2025-12",
	"updated:2026-01-05", "is:nonsense", `"`, "-", "nowhere", "e i", "tag:rot is:archived before:2027",
}

// corpus are notes of all texts: each as title and as content, and some with more.
func corpus() (all []notes.Note) {
	begin := time.Date(2025, 12, 20, 0, 0, 0, 0, time.UTC)
	for i := range 4 * len(texts) {
		n := notes.Note{
			ID: fmt.Sprintf("note-%03d", i*37%997), Title: "Nr " + fmt.Sprint(i), Content: texts[i%len(texts)], Tags: []string{},
			CreatedAt: begin.Add(time.Duration(i) * 5 * time.Hour), UpdatedAt: begin.Add(time.Duration(i*7%90) * 12 * time.Hour),
			Pinned: i%5 == 0, Favorite: i%7 == 0, Archived: i%11 == 0, Trashed: i%13 == 0, Markdown: i%3 == 0,
		}
		switch i % 4 {
		case 1:
			n.Title, n.Content = n.Content, "nothing"
		case 2:
			n.Content, n.Tags = n.Content+"\n"+texts[(i+7)%len(texts)], []string{"Rot", texts[i%3][:4]}
		case 3:
			n.Tags, n.Color = []string{"zwei Worte"}, new("Blau")
		}
		if n.Trashed {
			n.TrashedAt = &n.UpdatedAt
		}
		all = append(all, n)
	}
	large := notes.Note{ID: "large", Title: "Large", Content: strings.Repeat("lorem ipsum é ", 10_000) + "fox cafe", Tags: []string{}, UpdatedAt: begin, CreatedAt: begin}
	return append(all, large)
}

// TestWords: both engines find what the package query says of each note, in its order, on pages of
// any size, whether or not an index helps.
func TestWords(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, all := newOwner(t, s), corpus()
		importNotes(t, s, owner, all)
		newNote(t, s, newOwner(t, s), notes.NewNote{Title: "cafe of another person"})
		check := func(when string) {
			t.Helper()
			found := 0
			for _, words := range queries {
				want := naive(words, all)
				found += len(want)
				for _, limit := range []int{0, 7} {
					if got := wordPages(t, s, owner, notes.Query{Words: words, Sort: notes.ByRank, Limit: limit}); !slices.Equal(got, want) {
						t.Errorf("%s: %q in pages of %d finds %v, want %v", when, words, limit, got, want)
					}
				}
				inOrder := wordPages(t, s, owner, notes.Query{Words: words, Sort: notes.ByCreated, Limit: 9})
				if want := slices.Sorted(slices.Values(want)); !slices.Equal(slices.Sorted(slices.Values(inOrder)), want) {
					t.Errorf("%s: %q by creation finds %v, want some order of %v", when, words, inOrder, want)
				}
			}
			if found < 5*len(queries) {
				t.Errorf("%s: %d queries find %d notes", when, len(queries), found)
			}
		}
		check("without an index")
		exec(t, s, "UPDATE user_counters SET note_count = 1000 WHERE user_id = ?", owner)
		if err := s.MakeLists(t.Context(), owner, 50); err != nil {
			t.Fatal(err)
		}
		check("with an index")
		// Another search and tags hold as well.
		got := wordPages(t, s, owner, notes.Query{Words: "fox", Search: "JUMPS", Tags: []string{"Rot", "zwei Worte"}, Sort: notes.ByRank})
		want := naive("fox jumps", slices.DeleteFunc(slices.Clone(all), func(n notes.Note) bool {
			return !slices.Contains(n.Tags, "Rot") && !slices.Contains(n.Tags, "zwei Worte")
		}))
		if len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("words with a search and tags find %v, want %v", got, want)
		}
	})
}

// TestWordsBesideIndex: notes that are not in the index yet, and are older than those in it, take
// their place by rank, and hide none from any page.
func TestWordsBesideIndex(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		all := make([]notes.Note, 1300)
		for i := range all {
			at := begin.Add(time.Duration(i) * time.Minute)
			if i >= 1100 {
				at = at.AddDate(-10, 0, 0)
			}
			all[i] = notes.Note{ID: store.NewID(), Title: fmt.Sprint("quetzal ", i), CreatedAt: at, UpdatedAt: at}
		}
		importNotes(t, s, owner, all[:1100])
		if err := s.IndexAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		importNotes(t, s, owner, all[1100:])
		got := wordPages(t, s, owner, notes.Query{Words: "quetzal", Sort: notes.ByRank, Limit: 50})
		if want := naive("quetzal", all); !slices.Equal(got, want) {
			t.Errorf("the pages have %d notes, want %d in the order of their ranks", len(got), len(want))
		}
	})
}

// importNotes stores notes with their ids and dates.
func importNotes(t testing.TB, s *store.Store, owner string, all []notes.Note) {
	t.Helper()
	user, err := s.User(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.Import(t.Context(), store.Import{User: user, Notes: func(yield func(notes.Note, error) bool) {
		for _, n := range all {
			if !yield(n, nil) {
				return
			}
		}
	}})
	if err != nil || done.Notes != int64(len(all)) {
		t.Fatalf("Import = %+v, %v, want %d notes", done, err, len(all))
	}
}

// naive are the ids of the notes that match, the best first.
func naive(words string, all []notes.Note) (ids []string) {
	q := query.Parse(words)
	var ranks []query.Rank
	for _, n := range all {
		if rank, found := q.Match(&n); found {
			ranks = append(ranks, rank)
		}
	}
	slices.SortFunc(ranks, query.Rank.Compare)
	for _, r := range ranks {
		ids = append(ids, r.ID)
	}
	return ids
}

// wordPages are the ids that all pages of a query hold.
func wordPages(t testing.TB, s *store.Store, owner string, q notes.Query) (ids []string) {
	t.Helper()
	for {
		page, err := s.NoteRefs(t.Context(), owner, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range page {
			ids = append(ids, ref.ID)
		}
		if q.Limit == 0 || len(page) < q.Limit {
			return ids
		}
		q.After = &page[len(page)-1].Position
	}
}

// TestRandomWords compares random queries in random notes, on which an index was made at some time
// and some of which have changed since, with what the package query says of each note.
func TestRandomWords(t *testing.T) {
	t.Parallel()
	word := rapid.StringOfN(rapid.SampledFrom([]rune("abAéß1がか東京йи각า\u0301")), 1, 4, -1)
	text := rapid.Map(rapid.SliceOfN(word, 0, 5), func(words []string) string { return strings.Join(words, " ") })
	part := rapid.OneOf(word, rapid.Map(word, func(w string) string { return "-" + w }), rapid.Map(text, func(s string) string { return `"` + s + `"` }),
		rapid.SampledFrom([]string{"is:pinned", "is:archived", "is:trashed", "-is:pinned", "tag:a", "color:a", "-color:a", "before:2026", "after:2026", `"`}))
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		rapid.Check(t, func(rt *rapid.T) {
			owner := newOwner(t, s)
			var all []notes.Note
			random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
			for i := range rapid.IntRange(1, 25).Draw(rt, "notes") {
				date := time.Date(2025, 12, 28, 0, 0, 0, 0, time.UTC).Add(time.Duration(random.IntN(10)) * 24 * time.Hour)
				n := notes.Note{
					ID: store.NewID(), Title: text.Draw(rt, "title") + fmt.Sprint(i), Content: text.Draw(rt, "content"), Tags: rapid.SliceOfN(word, 0, 2).Draw(rt, "tags"),
					CreatedAt: date, UpdatedAt: date, Pinned: random.IntN(3) == 0, Archived: random.IntN(5) == 0, Trashed: random.IntN(5) == 0,
				}
				if n.Trashed {
					n.TrashedAt = &date
				}
				if random.IntN(2) == 0 {
					n.Color = new([]string{"a", "b"}[random.IntN(2)])
				}
				all = append(all, n)
			}
			importNotes(t, s, owner, all)
			exec(t, s, "UPDATE user_counters SET note_count = 1000 WHERE user_id = ?", owner)
			if rapid.Bool().Draw(rt, "index") {
				if err := s.MakeLists(t.Context(), owner, int64(rapid.IntRange(4, 20).Draw(rt, "most"))); err != nil {
					rt.Fatal(err)
				}
			}
			for i := range all {
				if random.IntN(6) > 0 || all[i].Trashed {
					continue
				}
				changed, err := s.PatchNote(t.Context(), owner, all[i].ID, notes.Patch{Content: new(text.Draw(rt, "new content"))})
				if err != nil {
					rt.Fatal(err)
				}
				all[i] = changed
			}
			for range 5 {
				words := strings.Join(rapid.SliceOfN(part, 1, 3).Draw(rt, "query"), " ")
				if strings.TrimSpace(words) == "" {
					continue
				}
				want := naive(words, all)
				if got := wordPages(t, s, owner, notes.Query{Words: words, Sort: notes.ByRank, Limit: rapid.IntRange(0, 4).Draw(rt, "limit")}); !slices.Equal(got, want) {
					rt.Fatalf("%q finds %v, want %v of %+v", words, got, want, all)
				}
			}
		})
	})
}
