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
	"notesd/server/auth"
	"notesd/store"
	"notesd/store/engine"
)

// legacyPassword is the environment variable for the password of the old database. Other users of
// the machine can read arguments, but not environment variables.
const legacyPassword = "LEGACY_DATABASE_PASSWORD"

// errLeftOut is the error of an import that left out some accounts or notes.
var errLeftOut = &exitError{
	status: statusFindings,
	err:    errors.New("something was left out, see above and docs/IMPORT.md"),
}

// ImportLegacy runs `notesd import-legacy …`.
func ImportLegacy(ctx context.Context, p Process, args []string) (err error) {
	flags := p.newFlags("notesd import-legacy --from postgres://…\n" +
		"Brings the old backend's accounts and notes over (docs/IMPORT.md).")
	from := flags.String("from", "",
		"`URL` of the old database, postgres://user@host/name; its password may be in "+legacyPassword)
	dry := flags.Bool("dry-run", false, "say what would be imported, and import nothing")
	asJSON := flags.Bool("json", false, "print a JSON object a line")
	allow := flags.Bool("allow-left-out", false, "exit with status 0 although something was left out")
	if args, err = flags.parse(args); err != nil {
		return err
	}
	if *from == "" || len(args) > 0 { // the arguments may hold a password, so they aren't repeated
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
	im := importer{old: old, db: db, cfg: cfg, out: p.Out, json: *asJSON, began: time.Now(), heard: time.Now()}
	im.sum.DryRun = *dry
	if made != "" {
		im.report(finding{What: "made", Kind: "database", ID: made, Reason: "there was none"})
	}
	err = cmp.Or(im.run(ctx), im.summarize())
	switch {
	case err != nil:
		return fmt.Errorf("import stopped; what was imported stays, and the same command goes on from there: %w", err)
	case im.sum.Accounts.LeftOut+im.sum.Notes.LeftOut > 0 && !*allow:
		return errLeftOut
	}
	return nil
}

// openLegacy opens the database at a URL. It uses the password in the environment, if there is one.
func openLegacy(ctx context.Context, name string, environ []string) (*legacy.Database, error) {
	if !strings.HasPrefix(name, "postgres://") && !strings.HasPrefix(name, "postgresql://") {
		return nil, fmt.Errorf("--from takes a postgres:// URL: %w", errUsage)
	}
	if config.BrokenPassword(name) {
		return nil, fmt.Errorf("--from: a password's @ / ? # are written %%40 %%2F %%3F %%23 in a URL, "+
			"or the password is in %s: %w", legacyPassword, errUsage)
	}
	at, err := engine.ParsePostgresURL(name)
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

// An importer is one run of import-legacy.
type importer struct {
	old   *legacy.Database
	db    *store.Store
	cfg   config.Config
	out   io.Writer
	json  bool
	began time.Time
	heard time.Time // the time of the last line of output
	sum   summary
}

// A summary is the last line of a report in JSON.
type summary struct {
	DryRun   bool    `json:"dryRun"`
	Accounts counts  `json:"accounts"`
	Notes    counts  `json:"notes"`
	Bytes    int64   `json:"bytes"`    // bytes of the imported notes
	OldTrash int64   `json:"oldTrash"` // notes that have been in the trash for longer than the trash keeps any
	Seconds  float64 `json:"seconds"`
}

// counts counts the results of rows of the old database.
type counts struct {
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
	Email  string `json:"email,omitempty"` // of the account, or of the account of the note
	Notes  int64  `json:"notes,omitempty"` // the number of the account's notes, which are left out, too
	Reason string `json:"reason"`
}

const (
	leftOut  = "left out"
	changed  = "changed"
	noSignIn = "no sign-in"
)

// run imports every account and note that can be imported.
func (im *importer) run(ctx context.Context) error {
	accounts, err := im.old.Accounts(ctx)
	if err != nil {
		return fmt.Errorf("old database: %w", err)
	}
	if accounts, err = im.choose(ctx, im.usable(accounts)); err != nil {
		return err
	}
	for _, account := range accounts {
		if err := im.bring(ctx, account); err != nil {
			return err
		}
	}
	for orphan, err := range im.old.Orphans(ctx) {
		if err != nil {
			return fmt.Errorf("old database: %w", err)
		}
		reason := "there is no account " + orphan.UserID
		if orphan.UserID == "" {
			reason = nullFault("userId")
		}
		im.leaveNote(orphan.ID, "", reason)
	}
	return nil
}

// usable removes the accounts that break a rule of this server, and reports them.
func (im *importer) usable(accounts []legacy.Account) (usable []legacy.Account) {
	for _, a := range accounts {
		account := notes.Account{ID: a.ID, Email: a.Email, Name: a.Name, PasswordHash: a.PasswordHash}
		reason := cmp.Or(nullFault(a.Null), datesFault(a.CreatedAt, a.UpdatedAt, a.LastLoginAt, a.LockedUntil),
			account.ImportFault())
		if reason != "" {
			im.leaveAccount(a, reason)
			continue
		}
		usable = append(usable, a)
	}
	return usable
}

// choose keeps one account of each group that would have the same e-mail address here.
func (im *importer) choose(ctx context.Context, accounts []legacy.Account) (chosen []legacy.Account, err error) {
	same := map[string][]legacy.Account{}
	for _, a := range accounts {
		address := notes.Fold(a.Email)
		same[address] = append(same[address], a)
	}
	for _, a := range accounts {
		group := same[notes.Fold(a.Email)]
		if a.ID != group[0].ID {
			continue // the group was decided at its first account
		}
		best, why := a, ""
		if len(group) > 1 {
			if best, why, err = im.best(ctx, group); err != nil {
				return nil, err
			}
		}
		chosen = append(chosen, best)
		for _, other := range group {
			if other.ID != best.ID {
				im.leaveAccount(other,
					fmt.Sprintf("its address is that of account %s, %s, in other letter case; that one %s",
						logging.Printable(best.ID), shownAddress(best.Email), why))
			}
		}
	}
	return chosen, nil
}

// best returns which account of a group is imported, and why. It is an account that is here
// already. If there is none, it is the account that signed in last. If none did, it is the oldest,
// which is the first of group.
func (im *importer) best(ctx context.Context, group []legacy.Account) (best legacy.Account, why string, err error) {
	best, why = group[0], "is the oldest, and none has ever signed in"
	for _, a := range group {
		_, err := im.db.User(ctx, a.ID)
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
func (im *importer) bring(ctx context.Context, a legacy.Account) error {
	user := userOf(a, im.began)
	done, err := im.db.Import(ctx, store.Import{User: user, Notes: im.notes(ctx, a), DryRun: im.sum.DryRun})
	if errors.Is(err, store.ErrDuplicate) {
		here, err := im.db.UserByEmail(ctx, a.Email)
		if err != nil {
			return err
		}
		im.leaveAccount(a, "its address has an account here already, "+logging.Printable(here.ID))
		return nil
	}
	im.count(a, done)
	if err == nil && done.Created && !auth.HasKnownHash(user) {
		im.report(finding{What: noSignIn, Kind: "account", ID: a.ID, Email: a.Email,
			Reason: "its password's hash is of no known kind; notesd user reset gives it another password"})
	}
	return err
}

// count adds the result of one account to the summary.
func (im *importer) count(a legacy.Account, done store.ImportResult) {
	accounts := &im.sum.Accounts.Present
	if done.Created {
		accounts = &im.sum.Accounts.Imported
	}
	*accounts++
	im.sum.Notes.Imported += done.Notes
	im.sum.Notes.Present += done.Present
	im.sum.Notes.Deleted += done.Deleted
	im.sum.Bytes += done.Bytes
	for _, id := range done.Foreign {
		im.leaveNote(id, a.Email, "somebody else has a note with its id here")
	}
	for _, id := range done.Unsure {
		im.leaveNote(id, a.Email,
			"its owner may have deleted it here: of very many deleted notes only the last are known")
	}
}

// notes yields the notes of an account in the form of this server, without those that break a rule.
func (im *importer) notes(ctx context.Context, a legacy.Account) iter.Seq2[notes.Note, error] {
	return func(yield func(notes.Note, error) bool) {
		for old, err := range im.old.Notes(ctx, a.ID) {
			if err != nil {
				yield(notes.Note{}, fmt.Errorf("old database: %w", err))
				return
			}
			im.progress()
			note := noteOf(old)
			reason := cmp.Or(nullFault(old.Null), datesFault(old.CreatedAt, old.UpdatedAt, old.TrashedAt),
				note.ImportFault())
			if reason != "" {
				im.leaveNote(old.ID, a.Email, reason)
				continue
			}
			if nulls := len(old.Tags) - len(note.Tags); nulls > 0 {
				im.report(finding{What: changed, Kind: "note", ID: old.ID, Email: a.Email,
					Reason: fmt.Sprintf("of its tags %d are null, which is no tag", nulls)})
			}
			if note.Trashed && im.began.Sub(*note.TrashedAt) > im.cfg.TrashRetention {
				im.sum.OldTrash++
			}
			if !yield(note, nil) {
				return
			}
		}
	}
}

// userOf converts an account. If a lock has expired, it also resets the count of wrong passwords.
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

// noteOf converts a note. In the result, TrashedAt is set if and only if the note is in the trash,
// and no tag is NULL.
func noteOf(old legacy.Note) notes.Note {
	n := notes.Note{
		ID: old.ID, Title: old.Title, Content: old.Content, Color: old.Color, Pinned: old.Pinned,
		Favorite: old.Favorite,
		Archived: old.Archived, Markdown: old.Markdown, Trashed: old.Trashed, CreatedAt: old.CreatedAt,
		UpdatedAt: old.UpdatedAt,
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

// nullFault describes a column that is NULL. It returns "" if there is none.
func nullFault(column string) string {
	if column == "" {
		return ""
	}
	return fmt.Sprintf("its column %q is NULL", column)
}

// datesFault describes what is wrong with times. In ISO 8601, which the API writes, a year has four
// digits. It returns "" if nothing is wrong.
func datesFault(times ...time.Time) string {
	for _, t := range times {
		if year := t.Year(); year < 1 || year > 9999 {
			return "a date of it is outside of the years 1 to 9999"
		}
	}
	return ""
}

func (im *importer) leaveAccount(a legacy.Account, reason string) {
	im.sum.Accounts.LeftOut++
	im.sum.Notes.LeftOut += a.Notes
	im.report(finding{What: leftOut, Kind: "account", ID: a.ID, Email: a.Email, Notes: a.Notes, Reason: reason})
}

func (im *importer) leaveNote(id, email, reason string) {
	im.sum.Notes.LeftOut++
	im.report(finding{What: leftOut, Kind: "note", ID: id, Email: email, Reason: reason})
}

// report prints a finding at once, because there may be very many.
func (im *importer) report(f finding) {
	im.heard = time.Now()
	if im.json {
		_ = json.NewEncoder(im.out).Encode(f) // the import goes on if the output is closed
		return
	}
	of := ""
	if f.Email != "" {
		of = " of " + shownAddress(f.Email)
	}
	if f.Notes > 0 {
		of += fmt.Sprintf(" with notes: %d", f.Notes)
	}
	fmt.Fprintf(im.out, "%s: %s %s%s: %s\n", f.What, f.Kind, logging.Printable(f.ID), of, f.Reason)
}

// progress prints from time to time how much has been imported.
func (im *importer) progress() {
	const often = 10 * time.Second
	if im.json || time.Since(im.heard) < often {
		return
	}
	im.heard = time.Now()
	n := im.sum.Notes
	fmt.Fprintf(im.out, "%s and %s so far\n",
		count(im.sum.Accounts.Imported+im.sum.Accounts.Present, "account"),
		count(n.Imported+n.Present+n.Deleted, "note"))
}

// summarize prints the summary.
func (im *importer) summarize() error {
	took := time.Since(im.began)
	im.sum.Seconds = took.Seconds()
	if im.json {
		return json.NewEncoder(im.out).Encode(im.sum)
	}
	table := tabwriter.NewWriter(im.out, 0, 0, 2, ' ', 0)
	imported := "IMPORTED"
	if im.sum.DryRun {
		imported = "TO IMPORT"
	}
	fmt.Fprintf(table, "\t%s\tTHERE ALREADY\tDELETED HERE\tLEFT OUT\n", imported)
	for _, row := range []struct {
		name string
		counts
	}{{"accounts", im.sum.Accounts}, {"notes", im.sum.Notes}} {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\n", row.name, row.Imported, row.Present, row.Deleted, row.LeftOut)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if im.sum.OldTrash > 0 {
		fmt.Fprintf(im.out, "%s in the trash since more than TRASH_RETENTION_DAYS=%.0f days: "+
			"the server deletes what is so old when it starts\n",
			count(im.sum.OldTrash, "note"), im.cfg.TrashRetention.Hours()/24)
	}
	_, err := fmt.Fprintf(im.out, "%s, %.1f MB in %v: %.0f notes/s\n", im.db.Engine(), float64(im.sum.Bytes)/1e6,
		took.Round(time.Millisecond), float64(im.sum.Notes.Imported)/took.Seconds())
	return err
}
