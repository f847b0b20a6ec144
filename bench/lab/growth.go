package lab

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

	"notesd/bench"
	"notesd/bench/format"
)

// A Growth measures notesd on a large database against notesd on a small one, on each engine. It
// shows which costs grow with all the notes of all users, and which with the notes of one user. The
// servers run side by side and take turns at each workload. Growth then measures the cost of open
// and idle connections.
type Growth struct {
	Notesd   string
	Postgres [2]string                                        // URLs of empty databases: small, large
	Settings []string                                         // on PostgreSQL: Redis, and the secret of sessions
	Notes    int                                              // the number of notes in a large database
	Idle     int                                              // the number of idle connections
	Rounds   int                                              // the medians of so many rounds count
	Duration time.Duration                                    // of each measured run
	Check    func(ctx context.Context, database string) error // checks a filled database; SQLite is given by its path
	Progress io.Writer
}

const (
	notesPerUser      = 100 // notes of a user on average
	smallPart         = 100 // the large database has so many times the notes of the small one
	minSmall          = 500
	growthConnections = 2    // so few that the latency is that of the work and not of a queue
	growthCreates     = 1000 // maximum of a run, so that the small database stays small
	growthUsers       = 50   // users that do the work, besides the heavy users
	growthStarts      = 5    // starts of each server, which measure how long a start takes
	growthPage        = 50
	growthFactor      = 1.2 // maximum p99 in a large database, as a multiple of the p99 in a small one
	searchMs          = 50  // maximum p99 of a search, in milliseconds
)

// These are the workloads.
const (
	workGet         = "get"     // gets notes of the first page, as users do
	workGetAny      = "get any" // gets more notes than a cache holds, in a large database
	workFirst       = "first page"
	workDeep        = "page 21"
	workDeepest     = "page 501"
	workSearch      = "search"
	workHeavySearch = "search by hoarders"
	workCreate      = "create"
)

var growthWorks = []string{workGet, workGetAny, workFirst, workDeep, workDeepest, workSearch, workHeavySearch,
	workCreate}

// Run measures, and adds goals, tables and runs to the report.
func (g Growth) Run(ctx context.Context, r *bench.Report) (err error) {
	root, err := os.MkdirTemp("", "notesd-growth")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	o := bench.Options{Rounds: g.Rounds, Duration: g.Duration, Connections: growthConnections}
	s := bench.NewSession(o, r, nil, g.Progress)
	if err := g.compare(ctx, root, s); err != nil {
		return err
	}
	return g.idle(ctx, root, s)
}

// compare measures the large databases against the small ones.
func (g Growth) compare(ctx context.Context, root string, s *bench.Session) (err error) {
	all := g.databases(root, s.Date)
	defer func() {
		for _, d := range all {
			err = errors.Join(err, d.stop())
		}
	}()
	for _, d := range all {
		s.Progress.Say(fmt.Sprintf("%s of %d people", d.name(), d.people))
		if err := d.fill(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.name(), err)
		}
	}
	for _, d := range all {
		if err := d.open(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.name(), err)
		}
	}
	medians, err := growthTurns(ctx, s, all)
	if err != nil {
		return err
	}
	s.Tables = append(s.Tables, growthTables(all, medians)...)
	backups, err := backupTable(ctx, s, root, all)
	if err != nil {
		return err
	}
	s.Tables = append(s.Tables, backups)
	growthGoals(s.Report, all, medians)
	s.Notes = append(s.Notes, growthNotes(s.Options, all[0].lexicon.needles())...)
	return nil
}

// databases returns the databases to fill. For each engine, the small one comes before the large
// one.
func (g Growth) databases(root string, now time.Time) (all []*grownDatabase) {
	words := newCorpus()
	var populations []*population
	for _, notes := range []int{max(minSmall, g.Notes/smallPart), g.Notes} {
		populations = append(populations, newPopulation(max(2*heavyUsers, notes/notesPerUser), notes, now, words))
	}
	for _, p := range populations {
		dir := filepath.Join(root, fmt.Sprint("sqlite-", p.notes))
		all = append(all, &grownDatabase{Growth: g, population: p, engine: "SQLite", dir: dir,
			database: filepath.Join(dir, "notes.db")})
	}
	for i, p := range populations {
		dir := filepath.Join(root, fmt.Sprint("postgres-", p.notes))
		all = append(all, &grownDatabase{Growth: g, population: p, engine: "PostgreSQL", dir: dir,
			database: g.Postgres[i],
			settings: append(slices.Clone(g.Settings), "DATABASE_URL="+g.Postgres[i])})
	}
	return all
}

// A grownDatabase is a database that was filled, and the server on it.
type grownDatabase struct {
	Growth
	*population
	engine   string
	dir      string // the directory of the server
	database string // the URL or the path
	settings []string
	size     int64 // bytes of the database

	server        *bench.Process // nil: it does not run
	plans         map[string]*bench.Plan
	heavy         []bench.User
	starts        []time.Duration
	fresh, worked int64 // bytes of the server's resident memory, before the loads and after them

	firstSearch time.Duration // the time of the first search of a heavy user
	searchReady time.Duration // the time after which such searches were quick, if the first was not
}

func (d *grownDatabase) name() string {
	return fmt.Sprintf("%s, %s", d.engine, format.Count(d.notes, "note"))
}

// fill fills the database. A server makes its schema and one password hash that all users share.
func (d *grownDatabase) fill(ctx context.Context) error {
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		return err
	}
	p, err := bench.StartProcess(ctx, d.Notesd, d.dir, d.settings)
	if err != nil {
		return err
	}
	_, err = bench.AddUsers(ctx, p.URL(), 1, 0)
	if err := errors.Join(err, p.Stop()); err != nil {
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

func (d *grownDatabase) measureSize(ctx context.Context) (size int64, err error) {
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

// open starts the server several times. It leaves the server running, with users signed in.
func (d *grownDatabase) open(ctx context.Context) error {
	for n := range growthStarts {
		began := time.Now()
		p, err := bench.StartProcess(ctx, d.Notesd, d.dir, d.settings)
		if err != nil {
			return err
		}
		d.starts = append(d.starts, time.Since(began))
		if n < growthStarts-1 {
			if err := p.Stop(); err != nil {
				return err
			}
			continue
		}
		d.server = p
	}
	var err error
	if d.fresh, err = bench.ResidentBytes(d.server.PID()); err != nil {
		return err
	}
	return d.makePlans(ctx)
}

func (d *grownDatabase) stop() error {
	if d.server == nil {
		return nil
	}
	p := d.server
	d.server = nil
	return p.Stop()
}

// makePlans signs in the heavy users and others drawn at random, and prepares their requests.
func (d *grownDatabase) makePlans(ctx context.Context) error {
	d.plans = map[string]*bench.Plan{}
	for _, work := range growthWorks {
		d.plans[work] = &bench.Plan{}
	}
	client := bench.NewClient(d.server.URL())
	defer client.Close()
	random := rand.New(rand.NewPCG(8, 9))
	others := random.Perm(d.people - heavyUsers)
	others = others[:min(len(others), growthUsers)]
	for who := range heavyUsers {
		if err := d.plan(ctx, client, who, true); err != nil {
			return err
		}
	}
	for _, n := range others {
		if err := d.plan(ctx, client, heavyUsers+n, false); err != nil {
			return err
		}
	}
	return d.awaitSearch(ctx, client)
}

// awaitSearch lets the heavy users search until each gets a quick response: a search in many notes
// may start the making of an index for the next search. If the index is not ready within
// maxSearching, the searches are measured as slow as they are.
func (d *grownDatabase) awaitSearch(ctx context.Context, client *bench.Client) error {
	const maxSearching = 5 * time.Minute
	path := firstPage + "&search=" + d.lexicon.needles().absent[0]
	for began := time.Now(); time.Since(began) < maxSearching; bench.Pause(ctx, time.Second) {
		slowest := time.Duration(0)
		for _, p := range d.heavy {
			asked := time.Now()
			_, err := client.Call(ctx, http.MethodGet, path, p.Cookie, "", nil)
			if err != nil && time.Since(asked) < bench.Patience {
				return err
			}
			// If the client gave up, the search takes at least this long.
			slowest = max(slowest, time.Since(asked))
		}
		if d.firstSearch == 0 {
			d.firstSearch = slowest
		}
		if slowest <= max(searchMs*time.Millisecond, d.firstSearch/4) {
			break
		}
		d.searchReady = time.Since(began)
	}
	return d.vacuum(ctx) // autovacuum does so some time later
}

// vacuum vacuums a PostgreSQL database.
func (d *grownDatabase) vacuum(ctx context.Context) error {
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

// plan adds the requests of one user.
func (d *grownDatabase) plan(ctx context.Context, client *bench.Client, who int, heavy bool) error {
	p, err := client.SignIn(ctx, emailOf(who))
	if err != nil {
		return err
	}
	d.plans[workFirst].Add(workFirst, 1, []bench.Request{bench.Get(growthHost, firstPage, p.Cookie)})
	if err := d.planCreate(p, who); err != nil {
		return err
	}
	if !heavy {
		d.planSearches(workSearch, p)
		return d.planReads(ctx, client, p, maxRead, "")
	}
	d.heavy = append(d.heavy, p)
	d.planSearches(workHeavySearch, p)
	deepest := d.notes / heavyPart / 2 // bounds the depth in a small database
	err = d.planReads(ctx, client, p, min(20*growthPage, deepest), workDeep)
	return errors.Join(err, d.planReads(ctx, client, p, min(500*growthPage, deepest), workDeepest))
}

const (
	growthHost = "127.0.0.1"
	firstPage  = "/api/notes?limit=50"
)

// planReads adds gets of a user's notes down to a depth of the list. It also adds the request for
// the page that follows, if page is a workload.
func (d *grownDatabase) planReads(
	ctx context.Context, client *bench.Client, p bench.User, depth int, page string,
) error {
	ids, cursor, err := walk(ctx, client, p, depth)
	if err != nil {
		return err
	}
	if p.Notes = ids; len(ids) > 0 && page != workDeep { // each note once, if not all are archived
		d.plans[workGetAny].Add(workGetAny, 1, bench.ReadNotes(growthHost, p))
		p.Notes = ids[:min(len(ids), growthPage)]
		d.plans[workGet].Add(workGet, 1, bench.ReadNotes(growthHost, p))
	}
	if page != "" {
		d.plans[page].Add(page, 1, []bench.Request{bench.Get(growthHost, firstPage+"&cursor="+cursor, p.Cookie)})
	}
	return nil
}

func (d *grownDatabase) planCreate(p bench.User, who int) error {
	text := d.lexicon.writer(uint64(who))
	body, err := json.Marshal(map[string]any{"title": text.text(20), "content": text.text(noteBytes),
		"tags": []string{text.word()}})
	if err != nil {
		return err
	}
	create := bench.Post(growthHost, "/api/notes", p.Cookie, string(body))
	d.plans[workCreate].Add(workCreate, 1, []bench.Request{create})
	return nil
}

// planSearches adds a user's searches for each kind of needle, each kind equally often.
func (d *grownDatabase) planSearches(work string, p bench.User) {
	n := d.lexicon.needles()
	for _, kind := range []struct {
		name  string
		words []string
	}{{"common", n.common}, {"rare", n.rare}, {"absent", n.absent}} {
		var requests []bench.Request
		for _, word := range kind.words {
			requests = append(requests, bench.Get(growthHost, firstPage+"&search="+word, p.Cookie))
		}
		d.plans[work].Add(work+": "+kind.name, 1, requests)
	}
}

const maxRead = 500 // maximum number of notes on a page

// walk reads a user's list page by page down to a depth. It returns the ids of the notes and the
// cursor of the page that follows. The cursor is empty if no page follows.
func walk(ctx context.Context, client *bench.Client, p bench.User, depth int) (ids []string, cursor string, err error) {
	for len(ids) < depth {
		var page struct {
			Data       []struct{ ID string }
			NextCursor string
		}
		path := fmt.Sprintf("/api/notes?limit=%d", min(maxRead, depth-len(ids)))
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		if _, err := client.Call(ctx, http.MethodGet, path, p.Cookie, "", &page); err != nil {
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

// growthTurns runs each workload in turns on all databases, and returns the medians by workload and
// database.
func growthTurns(ctx context.Context, s *bench.Session, all []*grownDatabase) (map[string][]bench.Measurement, error) {
	s.Progress.Expect(len(growthWorks) * s.Rounds * len(all))
	medians := map[string][]bench.Measurement{}
	for _, work := range growthWorks {
		runs := make([][]bench.Measurement, len(all))
		for round := range s.Rounds {
			for i := range all {
				// The order is reversed, so that a machine that slows down favours no database.
				if round%2 == 1 {
					i = len(all) - 1 - i
				}
				r, err := growthRun(ctx, s, all[i], work, round+1)
				if err != nil {
					return nil, err
				}
				runs[i] = append(runs[i], r)
			}
		}
		for i := range all {
			medians[work] = append(medians[work], bench.Median(runs[i]))
		}
		s.Medians = append(s.Medians, medians[work]...)
	}
	for _, d := range all {
		var err error
		if d.worked, err = bench.ResidentBytes(d.server.PID()); err != nil {
			return nil, err
		}
	}
	return medians, nil
}

func growthRun(
	ctx context.Context, s *bench.Session, d *grownDatabase, work string, round int,
) (bench.Measurement, error) {
	s.Progress.Step(fmt.Sprintf("%s, %s, round %d", d.name(), work, round))
	load := bench.NewClosedLoad(d.plans[work], s.Connections, s.Duration)
	if work == workCreate {
		load = load.Short(growthCreates)
	}
	r, err := d.server.Measure(ctx, load)
	if err != nil {
		return r, fmt.Errorf("%s, %s: %w", d.name(), work, err)
	}
	r.Arm, r.Label, r.Round = d.name(), work, round
	s.Keep(&r)
	return r, nil
}

func growthTables(all []*grownDatabase, medians map[string][]bench.Measurement) []bench.Table {
	works := bench.Table{Title: "Measured", Head: []string{"work", "", "p50", "p99", "p99 × small", "requests/s",
		"CPU a request", "failed"}}
	for _, work := range growthWorks {
		for i, m := range medians[work] {
			small := medians[work][i/2*2]
			works.Rows = append(works.Rows, []string{work, all[i].name(), format.Millis(m.All.P50Ms),
				format.Millis(m.All.P99Ms),
				format.Times(m.All.P99Ms, small.All.P99Ms), format.Rate(m.All.Goodput), format.Micros(m.AnswerMicros),
				format.Number(m.All.Unserved())})
		}
	}
	searches := bench.Table{Title: "Searches, by what is searched for", Head: []string{"search", "", "p50", "p99"}}
	for _, work := range []string{workSearch, workHeavySearch} {
		for i, m := range medians[work] {
			for _, f := range m.Classes {
				searches.Rows = append(searches.Rows, []string{f.Class, all[i].name(), format.Millis(f.P50Ms),
					format.Millis(f.P99Ms)})
			}
		}
	}
	servers := bench.Table{Title: "Servers", Head: []string{"", "people", "database", "start",
		"memory after the start", "after all loads",
		"slowest first search of a hoarder", "all their searches quick after"}}
	for _, d := range all {
		slices.Sort(d.starts)
		servers.Rows = append(servers.Rows, []string{d.name(), format.Number(d.people), format.Megabytes(d.size),
			d.starts[len(d.starts)/2].Round(time.Millisecond).String(), format.Megabytes(d.fresh),
			format.Megabytes(d.worked),
			format.Millis(float64(d.firstSearch) / 1e6), d.searchReady.Round(time.Second).String()})
	}
	return []bench.Table{works, searches, servers}
}

func growthNotes(o bench.Options, n needles) []string {
	return []string{
		fmt.Sprintf("%s in a closed loop, medians of %s of %v, of creates up to %s in each; the servers run side "+
			"by side and take "+
			"turns, and share the machine with the generator and the databases.",
			format.Count(o.Connections, "connection"),
			format.Count(o.Rounds, "round"), o.Duration, format.Number(growthCreates)),
		fmt.Sprintf("%d people, the hoarders, have a twentieth of all notes each; of the others the n-th has about "+
			"n^-0.8 of what the first "+
			"has. Get (of the notes of the first page), get any, first page and create are by the hoarders and up "+
			"to %d others drawn by lot, each as often as any other; search by the "+
			"others; page 21, page 501 (in a small database as deep as half the list) and the other searches by "+
			"the hoarders.",
			heavyUsers, growthUsers),
		fmt.Sprintf("Notes have about 1 KB of words drawn by Zipf's law from %s made of syllables. Needles, a "+
			"third each: common ones like %s, "+
			"rare ones like %s, and absent ones of three to eight letters like %s.", format.Number(corpusWords),
			strings.Join(n.common[:3], ", "), strings.Join(n.rare[:3], ", "), strings.Join(n.absent[:3], ", ")),
		"CPU of a request is notesd's own, without PostgreSQL's.",
	}
}

// growthGoals adds the results for the goals of the large databases.
func growthGoals(r *bench.Report, all []*grownDatabase, medians map[string][]bench.Measurement) {
	failed, sent := 0, 0
	for i := 1; i < len(all); i += 2 {
		for _, work := range []string{workGet, workGetAny, workFirst, workCreate} {
			small, large := medians[work][i-1].All, medians[work][i].All
			r.Promise(all[i].name()+": p99 of "+work,
				fmt.Sprintf("≤ %v × that among %s", growthFactor, format.Number(all[i-1].notes)),
				fmt.Sprintf("%s: %s, %s", format.Times(large.P99Ms, small.P99Ms), format.Millis(large.P99Ms),
					format.Millis(small.P99Ms)),
				small.P99Ms > 0 && large.P99Ms > 0 && large.P99Ms <= growthFactor*small.P99Ms)
		}
		for _, work := range []string{workSearch, workHeavySearch} {
			large := medians[work][i].All
			r.Promise(all[i].name()+": p99 of "+work, fmt.Sprintf("≤ %d ms", searchMs), format.Millis(large.P99Ms),
				large.P99Ms > 0 && large.P99Ms <= searchMs)
		}
	}
	for _, work := range growthWorks {
		for _, m := range medians[work] {
			failed, sent = failed+m.All.Unserved(), sent+m.All.Sent
		}
	}
	r.Promise("failed requests", "0", fmt.Sprintf("%s of %s", format.Number(failed), format.Number(sent)),
		failed == 0 && sent > 0)
}
