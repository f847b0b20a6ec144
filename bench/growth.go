package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Growth sets notesd on a large database against notesd on a small one, on
// each engine: what grows with all the notes of all people, and what with the
// notes of one person. The servers run side by side and take turns at each kind
// of work. It then measures what connections cost that are open and idle.
type Growth struct {
	Notesd   string
	Postgres [2]string                                        // URLs of empty databases, for the small and the large one
	Settings []string                                         // of the servers on PostgreSQL: Redis, and the secret of sessions
	Notes    int                                              // in a large database
	Idle     int                                              // connections
	Rounds   int                                              // of which the medians count
	Duration time.Duration                                    // of every measured run
	Check    func(ctx context.Context, database string) error // of a database that was filled; a SQLite one by its path
	Progress io.Writer
}

const (
	notesAPerson      = 100 // on average
	smallPart         = 100 // of the large database's notes are the small one's
	leastSmall        = 500
	growthConnections = 2    // so few that the latency is that of the work and not of a queue
	growthCreates     = 1000 // at most in a run: the small database is to stay small
	growthPeople      = 50   // who do the work, besides the hoarders
	growthStarts      = 5    // of each server, to measure how long it takes
	growthPage        = 50
	growthFactor      = 1.2 // that the p99 may be in a large database, of what it is in a small one
	searchMs          = 50  // that the p99 of a search may take
)

// The kinds of work.
const (
	workGet         = "get"     // of the notes on the first page, as people do
	workGetAny      = "get any" // of more notes than a cache holds, in a large database
	workFirst       = "first page"
	workDeep        = "page 21"
	workDeepest     = "page 501"
	workSearch      = "search"
	workHoardSearch = "search by hoarders"
	workCreate      = "create"
)

var growthWorks = []string{workGet, workGetAny, workFirst, workDeep, workDeepest, workSearch, workHoardSearch, workCreate}

// Run measures, and adds goals, tables and runs to the report.
func (g Growth) Run(ctx context.Context, r *Report) (err error) {
	root, err := os.MkdirTemp("", "notesd-growth")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	s := &session{Options: Options{Rounds: g.Rounds, Duration: g.Duration, Connections: growthConnections}, Report: r,
		progress: &progress{out: g.Progress}}
	if err := g.compare(ctx, root, s); err != nil {
		return err
	}
	return g.idle(ctx, root, s)
}

// compare measures the large databases beside the small ones.
func (g Growth) compare(ctx context.Context, root string, s *session) (err error) {
	all := g.databases(root, s.Date)
	defer func() {
		for _, d := range all {
			err = errors.Join(err, d.stop())
		}
	}()
	for _, d := range all {
		s.progress.say(fmt.Sprintf("%s of %d people", d.name(), d.people))
		if err := d.fill(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.name(), err)
		}
	}
	for _, d := range all {
		if err := d.open(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.name(), err)
		}
	}
	medians, err := s.growthTurns(ctx, all)
	if err != nil {
		return err
	}
	s.growthTables(all, medians)
	if err := s.backups(ctx, root, all); err != nil {
		return err
	}
	s.growthGoals(all, medians)
	s.growthNotes(all[0].lexicon.needles())
	return nil
}

// databases are those to be filled, of each engine the small one before the large one.
func (g Growth) databases(root string, now time.Time) (all []*grown) {
	words := newLexicon()
	var populations []*population
	for _, notes := range []int{max(leastSmall, g.Notes/smallPart), g.Notes} {
		populations = append(populations, newPopulation(max(2*hoarders, notes/notesAPerson), notes, now, words))
	}
	for _, p := range populations {
		dir := filepath.Join(root, fmt.Sprint("sqlite-", p.notes))
		all = append(all, &grown{Growth: g, population: p, engine: "SQLite", dir: dir, database: filepath.Join(dir, "notes.db")})
	}
	for i, p := range populations {
		all = append(all, &grown{Growth: g, population: p, engine: "PostgreSQL", dir: filepath.Join(root, fmt.Sprint("postgres-", p.notes)),
			database: g.Postgres[i], settings: append(slices.Clone(g.Settings), "DATABASE_URL="+g.Postgres[i])})
	}
	return all
}

// A grown is one database that was filled, and the server on it.
type grown struct {
	Growth
	*population
	engine   string
	dir      string // the server's
	database string // URL or path
	settings []string
	size     int64 // bytes of the database

	target
	plans         map[string]*plan
	hoards        []person
	starts        []time.Duration
	fresh, worked int64 // bytes that the server has resident, before the loads and after them

	firstSearch time.Duration // of a hoarder
	searchReady time.Duration // after which their searches were quick, if the first was not
}

func (d *grown) name() string { return fmt.Sprintf("%s, %s", d.engine, count(d.notes, "note")) }

// fill fills the database. A server makes its schema and hashes a password, once for all people.
func (d *grown) fill(ctx context.Context) error {
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		return err
	}
	p, err := startProcess(ctx, d.Notesd, d.dir, d.settings)
	if err != nil {
		return err
	}
	_, err = settleAt(ctx, p.url, 1, 0)
	if err := errors.Join(err, p.stop()); err != nil {
		return err
	}
	if d.engine == "PostgreSQL" {
		err = d.seedPostgres(ctx, d.database)
	} else {
		err = d.seedSQLite(ctx, d.database)
	}
	if err != nil {
		return err
	}
	if d.size, err = d.measureSize(ctx); err != nil {
		return err
	}
	return d.Check(ctx, d.database)
}

func (d *grown) measureSize(ctx context.Context) (size int64, err error) {
	if d.engine != "PostgreSQL" {
		info, err := os.Stat(d.database)
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	db, err := pgx.Connect(ctx, d.database)
	if err != nil {
		return 0, err
	}
	defer db.Close(context.WithoutCancel(ctx))
	err = db.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&size)
	return size, err
}

// open starts the server several times, and leaves it running with people signed in.
func (d *grown) open(ctx context.Context) error {
	for n := range growthStarts {
		began := time.Now()
		p, err := startProcess(ctx, d.Notesd, d.dir, d.settings)
		if err != nil {
			return err
		}
		d.starts = append(d.starts, time.Since(began))
		if n < growthStarts-1 {
			if err := p.stop(); err != nil {
				return err
			}
			continue
		}
		d.process = p
	}
	var err error
	if d.addr, err = d.process.address(); err != nil {
		return err
	}
	if d.fresh, err = residentBytes(d.process.cmd.Process.Pid); err != nil {
		return err
	}
	return d.makePlans(ctx)
}

func (d *grown) stop() error {
	if d.process == nil {
		return nil
	}
	p := d.process
	d.process = nil
	return p.stop()
}

// makePlans signs people in, the hoarders and others drawn by lot, and lays out what they ask for.
func (d *grown) makePlans(ctx context.Context) error {
	d.plans = map[string]*plan{}
	for _, work := range growthWorks {
		d.plans[work] = &plan{}
	}
	asker := newSettlers(d.process.url)
	defer asker.close()
	random := rand.New(rand.NewPCG(8, 9))
	others := random.Perm(d.people - hoarders)
	others = others[:min(len(others), growthPeople)]
	for who := range hoarders {
		if err := d.plan(ctx, asker, who, true); err != nil {
			return err
		}
	}
	for _, n := range others {
		if err := d.plan(ctx, asker, hoarders+n, false); err != nil {
			return err
		}
	}
	return d.awaitSearch(ctx, asker)
}

// awaitSearch has the hoarders search until each of them is answered soon: who
// searches in many notes may have something made for the next search. If it is
// not made within mostSearching, searches are as slow as they are.
func (d *grown) awaitSearch(ctx context.Context, asker *settlers) error {
	const mostSearching = 5 * time.Minute
	path := firstPage + "&search=" + d.lexicon.needles().absent[0]
	for began := time.Now(); time.Since(began) < mostSearching; pause(ctx, time.Second) {
		slowest := time.Duration(0)
		for _, p := range d.hoards {
			asked := time.Now()
			_, err := asker.call(ctx, http.MethodGet, path, p.cookie, "", nil)
			if err != nil && time.Since(asked) < patience {
				return err
			}
			slowest = max(slowest, time.Since(asked)) // a client may have given up: then that is how slow it is at least
		}
		if d.firstSearch == 0 {
			d.firstSearch = slowest
		}
		if slowest <= max(searchMs*time.Millisecond, d.firstSearch/4) {
			break
		}
		d.searchReady = time.Since(began)
	}
	return d.vacuum(ctx) // as autovacuum does, some time after
}

// vacuum keeps house in a PostgreSQL database.
func (d *grown) vacuum(ctx context.Context) error {
	if d.engine != "PostgreSQL" {
		return nil
	}
	db, err := pgx.Connect(ctx, d.database)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	_, err = db.Exec(ctx, "VACUUM ANALYZE")
	return err
}

// plan adds what one person asks for.
func (d *grown) plan(ctx context.Context, asker *settlers, who int, hoards bool) error {
	p, err := asker.signIn(ctx, emailOf(who))
	if err != nil {
		return err
	}
	d.plans[workFirst].add(workFirst, 1, []request{get(growthHost, firstPage, p.cookie)})
	if err := d.planCreate(p, who); err != nil {
		return err
	}
	if !hoards {
		d.planSearches(workSearch, p)
		return d.planReads(ctx, asker, p, maxRead, "")
	}
	d.hoards = append(d.hoards, p)
	d.planSearches(workHoardSearch, p)
	deepest := d.notes / hoarding / 2 // in a small database
	err = d.planReads(ctx, asker, p, min(20*growthPage, deepest), workDeep)
	return errors.Join(err, d.planReads(ctx, asker, p, min(500*growthPage, deepest), workDeepest))
}

const (
	growthHost = "127.0.0.1"
	firstPage  = "/api/notes?limit=50"
)

// planReads adds gets of a person's notes down to a depth of the list, and the
// page that follows, if that is a kind of work.
func (d *grown) planReads(ctx context.Context, asker *settlers, p person, depth int, page string) error {
	ids, cursor, err := asker.walk(ctx, p, depth)
	if err != nil {
		return err
	}
	if p.notes = ids; len(ids) > 0 && page != workDeep { // once for each, if not all are archived
		d.plans[workGetAny].add(workGetAny, 1, readNotes(growthHost, p))
		p.notes = ids[:min(len(ids), growthPage)]
		d.plans[workGet].add(workGet, 1, readNotes(growthHost, p))
	}
	if page != "" {
		d.plans[page].add(page, 1, []request{get(growthHost, firstPage+"&cursor="+cursor, p.cookie)})
	}
	return nil
}

func (d *grown) planCreate(p person, who int) error {
	text := d.lexicon.writer(uint64(who))
	body, err := json.Marshal(map[string]any{"title": text.text(20), "content": text.text(noteBytes), "tags": []string{text.word()}})
	if err != nil {
		return err
	}
	d.plans[workCreate].add(workCreate, 1, []request{{raw: rawRequest("POST", growthHost, "/api/notes", p.cookie, string(body))}})
	return nil
}

// planSearches adds a person's searches for each kind of needle, as often for one as for another.
func (d *grown) planSearches(work string, p person) {
	n := d.lexicon.needles()
	for _, kind := range []struct {
		name  string
		words []string
	}{{"common", n.common}, {"rare", n.rare}, {"absent", n.absent}} {
		var requests []request
		for _, word := range kind.words {
			requests = append(requests, get(growthHost, firstPage+"&search="+word, p.cookie))
		}
		d.plans[work].add(work+": "+kind.name, 1, requests)
	}
}

const maxRead = 500 // notes of a page at most

// walk reads a person's list to a depth, page by page, and returns the ids of
// what it saw and where it stands; no cursor: that is all.
func (s *settlers) walk(ctx context.Context, p person, depth int) (ids []string, cursor string, err error) {
	for len(ids) < depth {
		var page struct {
			Data       []struct{ ID string }
			NextCursor string
		}
		path := fmt.Sprintf("/api/notes?limit=%d", min(maxRead, depth-len(ids)))
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		if _, err := s.call(ctx, http.MethodGet, path, p.cookie, "", &page); err != nil {
			return nil, "", err
		}
		for _, note := range page.Data {
			ids = append(ids, note.ID)
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	return ids, cursor, nil
}

// signIn signs a person in who has an account.
func (s *settlers) signIn(ctx context.Context, email string) (person, error) {
	answer, err := s.call(ctx, http.MethodPost, "/api/auth/login", "", credentialsJSON(email), nil)
	if err != nil {
		return person{}, err
	}
	if len(answer.Cookies()) == 0 {
		return person{}, errors.New("POST /api/auth/login gave no session")
	}
	cookie := answer.Cookies()[0]
	return person{email: email, cookie: cookie.Name + "=" + cookie.Value}, nil
}

// growthTurns does each kind of work in turns on all databases, and returns the
// medians by work and database.
func (s *session) growthTurns(ctx context.Context, all []*grown) (map[string][]Measurement, error) {
	s.progress.expect(len(growthWorks) * s.Rounds * len(all))
	medians := map[string][]Measurement{}
	for _, work := range growthWorks {
		runs := make([][]Measurement, len(all))
		for round := range s.Rounds {
			for i := range all {
				if round%2 == 1 { // backwards, so that a machine that slows down favours nobody
					i = len(all) - 1 - i
				}
				r, err := s.growthRun(ctx, all[i], work, round+1)
				if err != nil {
					return nil, err
				}
				runs[i] = append(runs[i], r)
			}
		}
		for i := range all {
			medians[work] = append(medians[work], median(runs[i]))
		}
		s.Medians = append(s.Medians, medians[work]...)
	}
	for _, d := range all {
		var err error
		if d.worked, err = residentBytes(d.process.cmd.Process.Pid); err != nil {
			return nil, err
		}
	}
	return medians, nil
}

func (s *session) growthRun(ctx context.Context, d *grown, work string, round int) (Measurement, error) {
	s.progress.step(fmt.Sprintf("%s, %s, round %d", d.name(), work, round))
	l := load{plan: d.plans[work], connections: s.Connections, retry: RetryNone, warm: warmUp(s.Duration), measured: s.Duration,
		most: mostRequests}
	if work == workCreate {
		l.warm, l.most = min(l.warm, 100*time.Millisecond), growthCreates
	}
	r, err := d.measure(ctx, l, "")
	if err != nil {
		return r, fmt.Errorf("%s, %s: %w", d.name(), work, err)
	}
	r.Arm, r.Label, r.Round = d.name(), work, round
	s.keep(&r)
	return r, nil
}

func (s *session) growthTables(all []*grown, medians map[string][]Measurement) {
	works := Table{Title: "Measured", Head: []string{"work", "", "p50", "p99", "p99 × small", "requests/s", "CPU a request", "failed"}}
	for _, work := range growthWorks {
		for i, m := range medians[work] {
			small := medians[work][i/2*2]
			works.Rows = append(works.Rows, []string{work, all[i].name(), millis(m.All.P50Ms), millis(m.All.P99Ms),
				times(m.All.P99Ms, small.All.P99Ms), whole(m.All.Goodput), micros(m.AnswerMicros), number(m.All.unserved())})
		}
	}
	searches := Table{Title: "Searches, by what is searched for", Head: []string{"search", "", "p50", "p99"}}
	for _, work := range []string{workSearch, workHoardSearch} {
		for i, m := range medians[work] {
			for _, f := range m.Classes {
				searches.Rows = append(searches.Rows, []string{f.Class, all[i].name(), millis(f.P50Ms), millis(f.P99Ms)})
			}
		}
	}
	servers := Table{Title: "Servers", Head: []string{"", "people", "database", "start", "memory after the start", "after all loads",
		"slowest first search of a hoarder", "all their searches quick after"}}
	for _, d := range all {
		slices.Sort(d.starts)
		servers.Rows = append(servers.Rows, []string{d.name(), number(d.people), megabytes(d.size),
			d.starts[len(d.starts)/2].Round(time.Millisecond).String(), megabytes(d.fresh), megabytes(d.worked),
			millis(float64(d.firstSearch) / 1e6), d.searchReady.Round(time.Second).String()})
	}
	s.Tables = append(s.Tables, works, searches, servers)
}

func (s *session) growthNotes(n needles) {
	s.Notes = append(s.Notes,
		fmt.Sprintf("%s in a closed loop, medians of %s of %v, of creates up to %s in each; the servers run side by side and take "+
			"turns, and share the machine with the generator and the databases.", count(s.Connections, "connection"),
			count(s.Rounds, "round"), s.Duration, number(growthCreates)),
		fmt.Sprintf("%d people, the hoarders, have a twentieth of all notes each; of the others the n-th has about n^-0.8 of what the first "+
			"has. Get (of the notes of the first page), get any, first page and create are by the hoarders and up to %d others drawn by lot, each as often as any other; search by the "+
			"others; page 21, page 501 (in a small database as deep as half the list) and the other searches by the hoarders.",
			hoarders, growthPeople),
		fmt.Sprintf("Notes have about 1 KB of words drawn by Zipf's law from %s made of syllables. Needles, a third each: common ones like %s, "+
			"rare ones like %s, and absent ones of three to eight letters like %s.", number(lexiconWords),
			strings.Join(n.common[:3], ", "), strings.Join(n.rare[:3], ", "), strings.Join(n.absent[:3], ", ")),
		"CPU of a request is notesd's own, without PostgreSQL's.")
}

// growthGoals holds the large databases to what is wanted of them.
func (s *session) growthGoals(all []*grown, medians map[string][]Measurement) {
	failed, sent := 0, 0
	for i := 1; i < len(all); i += 2 {
		for _, work := range []string{workGet, workGetAny, workFirst, workCreate} {
			small, large := medians[work][i-1].All, medians[work][i].All
			s.Promise(all[i].name()+": p99 of "+work, fmt.Sprintf("≤ %v × that among %s", growthFactor, number(all[i-1].notes)),
				fmt.Sprintf("%s: %s, %s", times(large.P99Ms, small.P99Ms), millis(large.P99Ms), millis(small.P99Ms)),
				small.P99Ms > 0 && large.P99Ms > 0 && large.P99Ms <= growthFactor*small.P99Ms)
		}
		for _, work := range []string{workSearch, workHoardSearch} {
			large := medians[work][i].All
			s.Promise(all[i].name()+": p99 of "+work, fmt.Sprintf("≤ %d ms", searchMs), millis(large.P99Ms),
				large.P99Ms > 0 && large.P99Ms <= searchMs)
		}
	}
	for _, work := range growthWorks {
		for _, m := range medians[work] {
			failed, sent = failed+m.All.unserved(), sent+m.All.Sent
		}
	}
	s.Promise("failed requests", "0", fmt.Sprintf("%s of %s", number(failed), number(sent)), failed == 0 && sent > 0)
}
