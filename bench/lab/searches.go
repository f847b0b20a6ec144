package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"notesd/bench"
	"notesd/bench/format"
)

// Searches measures searches by words of one user with a twentieth of a database's notes. On each
// engine notesd takes turns with the engine's own full-text search, which a peer asks by hand for the
// same words.
type Searches struct {
	Notesd   string
	Postgres string   // URL of an empty database
	Settings []string // on PostgreSQL: Redis, and the secret of sessions
	Notes    int      // in each database
	Rounds   int      // the medians of so many rounds count
	Duration time.Duration
	Index    func(ctx context.Context, database string) error // indexes the notes, as after a restore
	Progress io.Writer
}

const (
	wordsMs     = 20 // maximum p99 of a search by words, in milliseconds
	wordsFactor = .5 // maximum p99 as a multiple of the peer's
	suggestion  = 3  // length of the prefixes to complete
)

// These are the searches that are measured.
const (
	twoWords = "q= of two words"
	suggest  = "suggest"
)

// A finder answers one kind of query, and returns how many notes it has found.
type finder struct {
	arm, work string
	queries   []string
	find      func(ctx context.Context, query string) (int, error)
}

// Run measures, and adds goals and tables to the report.
func (s Searches) Run(ctx context.Context, r *bench.Report) (err error) {
	root, err := os.MkdirTemp("", "notesd-searches")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	g := Growth{Notesd: s.Notesd, Notes: s.Notes, Settings: s.Settings, Check: s.Index}
	p := newSearcher(s.Notes, r.Date)
	for _, d := range []*grownDatabase{
		{Growth: g, population: p, engine: "SQLite", dir: filepath.Join(root, "sqlite"),
			database: filepath.Join(root, "sqlite", "notes.db")},
		{Growth: g, population: p, engine: "PostgreSQL", dir: filepath.Join(root, "postgres"), database: s.Postgres,
			settings: append(slices.Clone(s.Settings), "DATABASE_URL="+s.Postgres)},
	} {
		fmt.Fprintln(s.Progress, "filling "+d.name())
		if err := s.measure(ctx, r, d); err != nil {
			return fmt.Errorf("%s: %w", d.name(), err)
		}
	}
	r.Notes = append(r.Notes, searchNotes(p, s)...)
	return nil
}

// newSearcher returns a population whose first user has a twentieth of all notes, and whose others
// have a hundred each.
func newSearcher(notes int, now time.Time) *population {
	people := 1 + (notes-notes/heavyPart+notesPerUser-1)/notesPerUser
	p, random := newPeople(people, notes, now, newCorpus())
	p.give(0, notes/heavyPart)
	for who := 1; len(p.owners) < notes; who++ {
		p.give(who, min(notesPerUser, notes-len(p.owners)))
	}
	p.shuffle(random)
	return p
}

// measure fills a database and measures the searches in it.
func (s Searches) measure(ctx context.Context, r *bench.Report, d *grownDatabase) (err error) {
	if err := d.fill(ctx); err != nil {
		return err
	}
	peer, err := newPeer(ctx, d)
	if err != nil {
		return fmt.Errorf("peer: %w", err)
	}
	defer func() { err = errors.Join(err, peer.close(), d.stop()) }()
	fmt.Fprintln(s.Progress, "searches in "+d.name())
	firsts, err := d.firstSearches(ctx, s.Rounds)
	if err != nil {
		return err
	}
	client := bench.NewClient(d.server.URL())
	defer client.Close()
	user, err := client.SignIn(ctx, emailOf(0))
	if err != nil {
		return err
	}
	n := d.lexicon.needles()
	words := append(pairs(n.common, n.common), pairs(n.rare, n.common)...)
	var prefixes []string
	for _, word := range slices.Concat(n.common, n.rare) {
		prefixes = append(prefixes, word[:min(suggestion, len(word))])
	}
	finders := []finder{
		{d.name(), twoWords, words, func(ctx context.Context, query string) (int, error) {
			var page struct{ Data []struct{ Match struct{} } }
			_, err := client.Call(ctx, http.MethodGet, firstPage+"&q="+url.QueryEscape(query), user.Cookie, "", &page)
			return len(page.Data), err
		}},
		{peer.name, twoWords, words, peer.find},
		{d.name(), suggest, prefixes, func(ctx context.Context, query string) (int, error) {
			var found struct{ Data struct{ Words []string } }
			_, err := client.Call(ctx, http.MethodGet, "/api/search/suggest?q="+query, user.Cookie, "", &found)
			return len(found.Data.Words), err
		}},
	}
	quantiles, err := s.turns(ctx, finders)
	if err != nil {
		return err
	}
	searchTables(r, d.name(), finders, quantiles, firsts)
	searchGoals(r, d.name(), peer.name, quantiles)
	return nil
}

// pairs returns queries of a word of each list.
func pairs(one, other []string) (queries []string) {
	for i, word := range one {
		queries = append(queries, word+" "+other[(i+5)%len(other)])
	}
	return queries
}

// quantiles are those of the latencies of a finder, in milliseconds.
type quantiles struct{ p50, p95, p99 float64 }

// turns has the finders search in turns, and returns the medians of their rounds. Before the rounds
// each searches once for everything, so that no cache is empty.
func (s Searches) turns(ctx context.Context, finders []finder) ([]quantiles, error) {
	for _, f := range finders {
		total := 0
		for _, query := range f.queries {
			found, err := f.find(ctx, query)
			if err != nil {
				return nil, fmt.Errorf("%s: %q: %w", f.arm, query, err)
			}
			total += found
		}
		if total < len(f.queries) {
			return nil, fmt.Errorf("%s: %s: %d queries find %d", f.arm, f.work, len(f.queries), total)
		}
	}
	rounds := make([][]quantiles, len(finders))
	for range s.Rounds {
		for i, f := range finders {
			var took []float64
			for began := time.Now(); time.Since(began) < s.Duration; {
				asked := time.Now()
				if _, err := f.find(ctx, f.queries[len(took)%len(f.queries)]); err != nil {
					return nil, err
				}
				took = append(took, time.Since(asked).Seconds()*1000)
			}
			slices.Sort(took)
			at := func(percent int) float64 { return took[(len(took)-1)*percent/100] }
			rounds[i] = append(rounds[i], quantiles{at(50), at(95), at(99)})
		}
	}
	medians := make([]quantiles, len(finders))
	for i, of := range rounds {
		medians[i] = quantiles{
			median(of, func(q quantiles) float64 { return q.p50 }),
			median(of, func(q quantiles) float64 { return q.p95 }),
			median(of, func(q quantiles) float64 { return q.p99 }),
		}
	}
	return medians, nil
}

func median[T any](of []T, figure func(T) float64) float64 {
	var figures []float64
	for _, one := range of {
		figures = append(figures, figure(one))
	}
	slices.Sort(figures)
	return figures[len(figures)/2]
}

// firstSearches starts the server several times, and returns how long the user's first search takes
// then, for each kind of needle. It leaves the server running.
func (d *grownDatabase) firstSearches(ctx context.Context, rounds int) (map[string]float64, error) {
	n := d.lexicon.needles()
	took := map[string][]float64{}
	for round := range rounds {
		for kind, path := range map[string]string{
			"rare": "&search=" + n.rare[round%len(n.rare)], "absent": "&search=" + n.absent[round%len(n.absent)],
			"rare, by words":   "&q=" + n.rare[round%len(n.rare)],
			"absent, by words": "&q=" + n.absent[round%len(n.absent)],
		} {
			ms, err := d.searchAtStart(ctx, firstPage+path)
			if err != nil {
				return nil, err
			}
			took[kind] = append(took[kind], ms)
		}
	}
	medians := map[string]float64{}
	for kind, all := range took {
		medians[kind] = median(all, func(ms float64) float64 { return ms })
	}
	return medians, nil
}

// searchAtStart starts the server again, and returns how long the first request takes.
func (d *grownDatabase) searchAtStart(ctx context.Context, path string) (ms float64, err error) {
	if err := d.stop(); err != nil {
		return 0, err
	}
	if d.server, err = bench.StartProcess(ctx, d.Notesd, d.dir, d.settings); err != nil {
		return 0, err
	}
	client := bench.NewClient(d.server.URL())
	defer client.Close()
	user, err := client.SignIn(ctx, emailOf(0))
	if err != nil {
		return 0, err
	}
	began := time.Now()
	_, err = client.Call(ctx, http.MethodGet, path, user.Cookie, "", nil)
	return time.Since(began).Seconds() * 1000, err
}

func searchTables(r *bench.Report, name string, finders []finder, all []quantiles, firsts map[string]float64) {
	t := bench.Table{Title: "Searches, " + name, Head: []string{"search", "by", "p50", "p95", "p99"}}
	for i, f := range finders {
		q := all[i]
		t.Rows = append(t.Rows,
			[]string{f.work, f.arm, format.Millis(q.p50), format.Millis(q.p95), format.Millis(q.p99)})
	}
	first := bench.Table{Title: "First search after a start, " + name, Head: []string{"needle", "median"}}
	for _, kind := range []string{"rare", "rare, by words", "absent", "absent, by words"} {
		first.Rows = append(first.Rows, []string{kind, format.Millis(firsts[kind])})
	}
	r.Tables = append(r.Tables, t, first)
}

func searchGoals(r *bench.Report, name, peer string, all []quantiles) {
	own, other := all[0].p99, all[1].p99
	r.Promise(name+": p99 of "+twoWords, fmt.Sprintf("≤ %d ms", wordsMs), format.Millis(own), own <= wordsMs)
	r.Promise("the same beside "+peer, fmt.Sprintf("≤ %v ×", wordsFactor),
		fmt.Sprintf("%s: %s, %s", format.Times(own, other), format.Millis(own), format.Millis(other)),
		own <= wordsFactor*other)
}

func searchNotes(p *population, s Searches) []string {
	n := p.lexicon.needles()
	return []string{
		fmt.Sprintf("One connection, medians of %s of %v; the servers share the machine with the generator.",
			format.Count(s.Rounds, "round"), s.Duration),
		fmt.Sprintf("One of %s has %s of the notes, the others a hundred each. Pages of 50, ranked, with the places "+
			"of the words and excerpts. Half the pairs have two common words like %s, half a rare and a common one "+
			"like %s %s.",
			format.Count(p.people, "user"), format.Number(s.Notes/heavyPart), strings.Join(n.common[:2], " "),
			n.rare[0], n.common[0]),
		"The peers are asked on a connection of their own, without HTTP, and have an index of this user's notes " +
			"alone, of their folded text. FTS5: unicode61 with marks as parts of words, bm25, highlight and snippet. " +
			"tsvector: simple, GIN, ts_rank with a weight for the title, and ts_headline. They find whole words; " +
			"notesd also finds parts of words.",
	}
}
