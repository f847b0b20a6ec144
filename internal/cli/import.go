package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"text/tabwriter"
	"time"

	"notesd/config"
	"notesd/internal/legacy"
	"notesd/internal/logging"
	"notesd/notes"
	"notesd/server"
	"notesd/store"
)

// legacyPassword is the variable for the old database's password, which others
// on the machine could read among the arguments.
const legacyPassword = "LEGACY_DATABASE_PASSWORD"

// errLeftOut is the end of an import without some accounts or notes.
var errLeftOut = &exitError{status: statusFindings, err: errors.New("something was left out, see above and docs/IMPORT.md")}

// ImportLegacy does what `notesd import-legacy …` says.
func ImportLegacy(ctx context.Context, p Process, args []string) (err error) {
	flags := p.newFlags("notesd import-legacy --from postgres://…\nBrings the old backend's accounts and notes over (docs/IMPORT.md).")
	from := flags.String("from", "", "`URL` of the old database, postgres://user@host/name; its password may be in "+legacyPassword)
	dry := flags.Bool("dry-run", false, "say what would be imported, and import nothing")
	asJSON := flags.Bool("json", false, "print a JSON object a line")
	allow := flags.Bool("allow-left-out", false, "exit with status 0 although something was left out")
	if args, err = flags.parse(args); err != nil {
		return err
	}
	if *from == "" || len(args) > 0 { // the arguments may hold a password: they aren't repeated
		return fmt.Errorf("import-legacy takes --from postgres://… and options: %w", errUsage)
	}
	old, err := openLegacy(ctx, *from, p.Environ)
	if err != nil {
		return fmt.Errorf("old database: %w", err)
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	cfg, db, made, err := p.openStore(ctx, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	m := move{old: old, db: db, cfg: cfg, out: p.Out, json: *asJSON, began: time.Now(), heard: time.Now()}
	m.sum.DryRun = *dry
	if made != "" {
		m.say(finding{What: "made", Kind: "database", ID: made, Reason: "there was none"})
	}
	err = cmp.Or(m.run(ctx), m.summarize())
	switch {
	case err != nil:
		return fmt.Errorf("import stopped; what was imported stays, and the same command goes on from there: %w", err)
	case m.sum.Accounts.LeftOut+m.sum.Notes.LeftOut > 0 && !*allow:
		return errLeftOut
	}
	return nil
}

// openLegacy opens the database at a URL with the password in the environment, if it is there.
func openLegacy(ctx context.Context, name string, environ []string) (*legacy.Database, error) {
	if !strings.HasPrefix(name, "postgres://") && !strings.HasPrefix(name, "postgresql://") {
		return nil, fmt.Errorf("--from takes a postgres:// URL: %w", errUsage)
	}
	if config.BrokenPassword(name) {
		return nil, fmt.Errorf("--from: a password's @ / ? # are written %%40 %%2F %%3F %%23 in a URL, or the password is in %s: %w",
			legacyPassword, errUsage)
	}
	at, err := store.ParsePostgresURL(name)
	if err != nil {
		return nil, err
	}
	for _, entry := range environ {
		if password, ok := strings.CutPrefix(entry, legacyPassword+"="); ok && password != "" {
			at.Password = password
		}
	}
	at.ConnectTimeout = max(at.ConnectTimeout, connectTime)
	return legacy.Open(ctx, at)
}

// A move is one run of import-legacy.
type move struct {
	old   *legacy.Database
	db    *store.Store
	cfg   config.Config
	out   io.Writer
	json  bool
	began time.Time
	heard time.Time // when something was last said
	sum   summary
}

// summary is how a move ends.
type summary struct {
	DryRun   bool    `json:"dryRun"`
	Accounts tally   `json:"accounts"`
	Notes    tally   `json:"notes"`
	Bytes    int64   `json:"bytes"`    // of the notes that were imported
	OldTrash int64   `json:"oldTrash"` // notes that have been in the trash for longer than it keeps any
	Seconds  float64 `json:"seconds"`
}

// A tally says what became of rows of the old database.
type tally struct {
	Imported int64 `json:"imported"`
	Present  int64 `json:"thereAlready"`
	Deleted  int64 `json:"deletedHere"`
	LeftOut  int64 `json:"leftOut"`
}

// A finding is about one row of the old database.
type finding struct {
	What   string `json:"what"`
	Kind   string `json:"kind"` // account or note
	ID     string `json:"id"`
	Email  string `json:"email,omitempty"` // of the account, or of the note's
	Notes  int64  `json:"notes,omitempty"` // the account's, left out with it
	Reason string `json:"reason"`
}

const (
	leftOut  = "left out"
	changed  = "changed"
	noSignIn = "no sign-in"
)

// run brings over everything that can be.
func (m *move) run(ctx context.Context) error {
	accounts, err := m.old.Accounts(ctx)
	if err != nil {
		return fmt.Errorf("old database: %w", err)
	}
	if accounts, err = m.choose(ctx, m.usable(accounts)); err != nil {
		return err
	}
	for _, account := range accounts {
		if err := m.bring(ctx, account); err != nil {
			return err
		}
	}
	for orphan, err := range m.old.Orphans(ctx) {
		if err != nil {
			return fmt.Errorf("old database: %w", err)
		}
		reason := "there is no account " + orphan.UserID
		if orphan.UserID == "" {
			reason = nullFault("userId")
		}
		m.leaveNote(orphan.ID, "", reason)
	}
	return nil
}

// usable leaves out the accounts that can't be here.
func (m *move) usable(accounts []legacy.Account) (usable []legacy.Account) {
	for _, a := range accounts {
		reason := cmp.Or(nullFault(a.Null), datesFault(a.CreatedAt, a.UpdatedAt, a.LastLoginAt, a.LockedUntil), notes.Account{ID: a.ID, Email: a.Email, Name: a.Name, PasswordHash: a.PasswordHash}.ImportFault())
		if reason != "" {
			m.leaveAccount(a, reason)
			continue
		}
		usable = append(usable, a)
	}
	return usable
}

// choose leaves out all but one of the accounts that would have one e-mail address here.
func (m *move) choose(ctx context.Context, accounts []legacy.Account) (chosen []legacy.Account, err error) {
	same := map[string][]legacy.Account{}
	for _, a := range accounts {
		address := notes.Fold(a.Email)
		same[address] = append(same[address], a)
	}
	for _, a := range accounts {
		group := same[notes.Fold(a.Email)]
		if a.ID != group[0].ID {
			continue // came with the first of the group
		}
		best, why := a, ""
		if len(group) > 1 {
			if best, why, err = m.best(ctx, group); err != nil {
				return nil, err
			}
		}
		chosen = append(chosen, best)
		for _, other := range group {
			if other.ID != best.ID {
				m.leaveAccount(other, fmt.Sprintf("its address is that of account %s, %s, in other letter case; that one %s",
					logging.Printable(best.ID), shownAddress(best.Email), why))
			}
		}
	}
	return chosen, nil
}

// best says which of several accounts, the oldest of which is the first, comes,
// and why: whichever is here already, else the one that signed in last, else the oldest.
func (m *move) best(ctx context.Context, group []legacy.Account) (best legacy.Account, why string, err error) {
	best, why = group[0], "is the oldest, and none has ever signed in"
	for _, a := range group {
		_, err := m.db.User(ctx, a.ID)
		if err == nil {
			return a, "is here already", nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return a, "", err
		}
		if a.LastLoginAt.After(best.LastLoginAt) {
			best = a
		}
	}
	if !best.LastLoginAt.IsZero() {
		why = "signed in last"
	}
	return best, why, nil
}

// bring imports one account with its notes.
func (m *move) bring(ctx context.Context, a legacy.Account) error {
	user := userOf(a, m.began)
	done, err := m.db.Import(ctx, store.Import{User: user, Notes: m.notes(ctx, a), DryRun: m.sum.DryRun})
	if errors.Is(err, store.ErrDuplicate) {
		here, err := m.db.UserByEmail(ctx, a.Email)
		if err != nil {
			return err
		}
		m.leaveAccount(a, "its address has an account here already, "+logging.Printable(here.ID))
		return nil
	}
	m.count(a, done)
	if err == nil && done.Created && !server.HasKnownHash(user) {
		m.say(finding{What: noSignIn, Kind: "account", ID: a.ID, Email: a.Email,
			Reason: "its password's hash is of no known kind; notesd user reset gives it another password"})
	}
	return err
}

// count adds up what became of an account.
func (m *move) count(a legacy.Account, done store.ImportResult) {
	accounts := &m.sum.Accounts.Present
	if done.Created {
		accounts = &m.sum.Accounts.Imported
	}
	*accounts++
	m.sum.Notes.Imported += done.Notes
	m.sum.Notes.Present += done.Present
	m.sum.Notes.Deleted += done.Deleted
	m.sum.Bytes += done.Bytes
	for _, id := range done.Foreign {
		m.leaveNote(id, a.Email, "somebody else has a note with its id here")
	}
	for _, id := range done.Unsure {
		m.leaveNote(id, a.Email, "its owner may have deleted it here: of very many deleted notes only the last are known")
	}
}

// notes are an account's notes as they come here. Those that can't are left out.
func (m *move) notes(ctx context.Context, a legacy.Account) iter.Seq2[notes.Note, error] {
	return func(yield func(notes.Note, error) bool) {
		for old, err := range m.old.Notes(ctx, a.ID) {
			if err != nil {
				yield(notes.Note{}, fmt.Errorf("old database: %w", err))
				return
			}
			m.progress()
			note := noteOf(old)
			reason := cmp.Or(nullFault(old.Null), datesFault(old.CreatedAt, old.UpdatedAt, old.TrashedAt), note.ImportFault())
			if reason != "" {
				m.leaveNote(old.ID, a.Email, reason)
				continue
			}
			if nulls := len(old.Tags) - len(note.Tags); nulls > 0 {
				m.say(finding{What: changed, Kind: "note", ID: old.ID, Email: a.Email,
					Reason: fmt.Sprintf("of its tags %d are null, which is no tag", nulls)})
			}
			if note.Trashed && m.began.Sub(*note.TrashedAt) > m.cfg.TrashRetention {
				m.sum.OldTrash++
			}
			if !yield(note, nil) {
				return
			}
		}
	}
}

// userOf is an account as it is here. A lock that has run out has reset the
// count of wrong passwords.
func userOf(a legacy.Account, now time.Time) store.User {
	u := store.User{
		ID: a.ID, Email: a.Email, Name: a.Name, PasswordHash: a.PasswordHash, FailedLogins: max(0, a.FailedLogins),
		LockedUntil: a.LockedUntil, LastLoginAt: a.LastLoginAt, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt,
	}
	if !u.LockedUntil.IsZero() && !u.LockedUntil.After(now) {
		u.LockedUntil, u.FailedLogins = time.Time{}, 0
	}
	return u
}

// noteOf is a note as it is here: it has a date in the trash, and nowhere else,
// and no tag is null.
func noteOf(old legacy.Note) notes.Note {
	n := notes.Note{
		ID: old.ID, Title: old.Title, Content: old.Content, Color: old.Color, Pinned: old.Pinned, Favorite: old.Favorite,
		Archived: old.Archived, Markdown: old.Markdown, Trashed: old.Trashed, CreatedAt: old.CreatedAt, UpdatedAt: old.UpdatedAt,
	}
	for _, tag := range old.Tags {
		if tag != nil {
			n.Tags = append(n.Tags, *tag)
		}
	}
	if n.Trashed {
		n.TrashedAt = new(cmp.Or(old.TrashedAt, old.UpdatedAt))
	}
	return n
}

// nullFault says that a column is NULL, if one is.
func nullFault(column string) string {
	if column == "" {
		return ""
	}
	return fmt.Sprintf("its column %q is NULL", column)
}

// datesFault says what is wrong with times that are there: an API that writes
// ISO 8601 has four digits for a year.
func datesFault(times ...time.Time) string {
	for _, t := range times {
		if year := t.Year(); year < 1 || year > 9999 {
			return "a date of it is outside of the years 1 to 9999"
		}
	}
	return ""
}

func (m *move) leaveAccount(a legacy.Account, reason string) {
	m.sum.Accounts.LeftOut++
	m.sum.Notes.LeftOut += a.Notes
	m.say(finding{What: leftOut, Kind: "account", ID: a.ID, Email: a.Email, Notes: a.Notes, Reason: reason})
}

func (m *move) leaveNote(id, email, reason string) {
	m.sum.Notes.LeftOut++
	m.say(finding{What: leftOut, Kind: "note", ID: id, Email: email, Reason: reason})
}

// say prints a finding at once: there may be very many.
func (m *move) say(f finding) {
	m.heard = time.Now()
	if m.json {
		_ = json.NewEncoder(m.out).Encode(f) // who does not listen has the import all the same
		return
	}
	of := ""
	if f.Email != "" {
		of = " of " + shownAddress(f.Email)
	}
	if f.Notes > 0 {
		of += fmt.Sprintf(" with notes: %d", f.Notes)
	}
	fmt.Fprintf(m.out, "%s: %s %s%s: %s\n", f.What, f.Kind, logging.Printable(f.ID), of, f.Reason)
}

// progress says now and then that there is some.
func (m *move) progress() {
	const often = 10 * time.Second
	if m.json || time.Since(m.heard) < often {
		return
	}
	m.heard = time.Now()
	n := m.sum.Notes
	fmt.Fprintf(m.out, "%s and %s so far\n",
		count(m.sum.Accounts.Imported+m.sum.Accounts.Present, "account"), count(n.Imported+n.Present+n.Deleted, "note"))
}

// summarize prints what became of everything.
func (m *move) summarize() error {
	took := time.Since(m.began)
	m.sum.Seconds = took.Seconds()
	if m.json {
		return json.NewEncoder(m.out).Encode(m.sum)
	}
	table := tabwriter.NewWriter(m.out, 0, 0, 2, ' ', 0)
	imported := "IMPORTED"
	if m.sum.DryRun {
		imported = "TO IMPORT"
	}
	fmt.Fprintf(table, "\t%s\tTHERE ALREADY\tDELETED HERE\tLEFT OUT\n", imported)
	for _, row := range []struct {
		name string
		tally
	}{{"accounts", m.sum.Accounts}, {"notes", m.sum.Notes}} {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\n", row.name, row.Imported, row.Present, row.Deleted, row.LeftOut)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if m.sum.OldTrash > 0 {
		fmt.Fprintf(m.out, "%s in the trash since more than TRASH_RETENTION_DAYS=%.0f days: the server deletes what is so old when it starts\n",
			count(m.sum.OldTrash, "note"), m.cfg.TrashRetention.Hours()/24)
	}
	_, err := fmt.Fprintf(m.out, "%s, %.1f MB in %v: %.0f notes/s\n", m.db.Engine(), float64(m.sum.Bytes)/1e6,
		took.Round(time.Millisecond), float64(m.sum.Notes.Imported)/took.Seconds())
	return err
}
