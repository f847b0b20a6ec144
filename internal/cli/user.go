package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"notesd/config"
	"notesd/internal/logging"
	"notesd/notes"
	"notesd/server/admin"
	"notesd/server/auth"
	"notesd/server/router"
	"notesd/store"
	"notesd/store/engine"
)

// userCommands maps the names of commands on one account to their functions. User makes quota's.
var userCommands = map[string]userCommand{
	"add":     addUser,
	"reset":   resetUser,
	"unlock":  changeUser("unlocked %s\n", admin.UserChange{Unlock: true}),
	"disable": changeUser("disabled %s; its sessions are ended\n", admin.UserChange{Disabled: new(true)}),
	"enable":  changeUser("enabled %s\n", admin.UserChange{Disabled: new(false)}),
	"delete":  deleteUser,
	"list":    nil,
	"quota":   nil,
}

const userUsage = `notesd user add EMAIL       make an account
notesd user reset EMAIL     give it a new password, end its sessions, delete its app tokens, turn its codes off
notesd user unlock EMAIL    let it sign in though too many passwords were wrong
notesd user disable EMAIL   sign it out everywhere and refuse its password; its notes stay
notesd user enable EMAIL    let it sign in again
notesd user list            every account
notesd user quota EMAIL     what it stores and may store; -notes, -mb and -history change that
notesd user delete EMAIL    delete it with all of its notes

A running server does the work if it has this DATA_DIR and DATABASE_URL.`

// inUsePatience is how long to wait for a SQLite database that another process has, while it does
// not answer: it starts, or leaves to a new one. inUsePoll is how often to look.
const inUsePatience, inUsePoll = 5 * time.Second, 50 * time.Millisecond

// User runs `notesd user …`.
func User(ctx context.Context, p Process, args []string) error {
	flags := p.newFlags(userUsage)
	fromInput := flags.Bool("password-stdin", false,
		"read the password from the first line of standard input (add, reset)")
	quotas := map[string]*string{}
	for name, what := range map[string]string{
		"notes":   "notes that the account may have: a number, none for no limit, or default for QUOTA_NOTES (quota)",
		"mb":      "megabytes that its notes may take: a number, none for no limit, or default for QUOTA_MB (quota)",
		"history": "megabytes that its versions may take: a number, none for no limit, or default for -mb's (quota)",
	} {
		quotas[name] = flags.String(name, "", what)
	}
	args, err := flags.parse(args)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return fmt.Errorf("user add, reset, unlock, disable, enable, list, quota or delete? %w", errUsage)
	}
	name, args := args[0], args[1:]
	command, ok := userCommands[name]
	switch {
	case !ok:
		return noSuch("command user", name, slices.Collect(maps.Keys(userCommands)))
	case name != "quota" && (*quotas["notes"] != "" || *quotas["mb"] != "" || *quotas["history"] != ""):
		return fmt.Errorf("user %s takes neither -notes, -mb nor -history: %w", name, errUsage)
	case name == "list" && len(args) > 0:
		return fmt.Errorf("user list takes no arguments, not %q: %w", args, errUsage)
	case name == "list":
		return p.withAccounts(ctx, false, p.listUsers)
	case len(args) != 1:
		return fmt.Errorf("user %s takes one EMAIL, not %q: %w", name, args, errUsage)
	}
	if name == "quota" {
		command = quotaUser(quotas)
	}
	return p.withAccounts(ctx, name == "add", func(ctx context.Context, m manager) error {
		return command(ctx, accounts{Process: p, manager: m, fromInput: *fromInput}, args[0])
	})
}

// A manager manages accounts: admin.Users on a database that this process has open, or admin.Client
// by way of a running server.
type manager interface {
	List(context.Context, admin.UserList) (admin.UserPage, error)
	Add(context.Context, admin.NewUser) (admin.UserResult, error)
	Change(ctx context.Context, id string, in admin.UserChange) (admin.UserResult, error)
	Delete(ctx context.Context, id string) error
}

// withAccounts runs do by way of the server that runs, or else on the database. If create is true,
// it makes a missing SQLite file.
func (p Process) withAccounts(ctx context.Context, create bool, do func(context.Context, manager) error) error {
	cfg, err := config.Load(p.Environ)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(inUsePatience); ; {
		err := p.withManager(ctx, cfg, create, do)
		passing := errors.Is(err, engine.ErrInUse) || errors.Is(err, admin.ErrLeft)
		if !passing || !time.Now().Before(deadline) {
			return err
		}
		if err := engine.Pause(ctx, inUsePoll); err != nil {
			return err
		}
	}
}

// withManager is withAccounts without patience.
func (p Process) withManager(
	ctx context.Context, cfg config.Config, create bool, do func(context.Context, manager) error,
) error {
	if client := connect(ctx, cfg); client != nil {
		defer client.Close()
		ctx, cancel := context.WithTimeout(ctx, connectTime)
		defer cancel()
		return do(ctx, client)
	}
	return p.withStore(ctx, create, func(ctx context.Context, cfg config.Config, db *store.Store) error {
		redis, err := openRedis(cfg)
		if err != nil {
			return err
		}
		if redis != nil {
			defer redis.Close()
		}
		quotaNotes, quotaBytes := defaultQuotas(cfg)
		return do(ctx, admin.NewUsers(db, redis, slog.New(slog.DiscardHandler), quotaNotes, quotaBytes))
	})
}

// connect returns a client of the server that runs with the settings, or nil if none answers.
func connect(ctx context.Context, cfg config.Config) *admin.Client {
	database := engine.Identity(cfg.DatabaseURL.Reveal())
	if database == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	client, err := admin.Connect(ctx, cfg.DataDir, database)
	if err != nil {
		return nil
	}
	return client
}

// accounts is the context of a command on an account.
type accounts struct {
	Process
	manager
	fromInput bool
}

type userCommand func(ctx context.Context, a accounts, email string) error

func addUser(ctx context.Context, a accounts, email string) error {
	password, err := a.password()
	if err != nil {
		return err
	}
	if err := notes.CheckNewAccount(email, password); err != nil {
		return err
	}
	_, err = a.Add(ctx, admin.NewUser{Email: email, Password: password})
	if errors.Is(err, admin.ErrUserExists) {
		return fmt.Errorf("%s has an account already", shownAddress(email))
	}
	return a.done(err, "added", email, password)
}

func resetUser(ctx context.Context, a accounts, email string) error {
	u, _, err := a.find(ctx, email)
	if err != nil {
		return err
	}
	password, err := a.password()
	if err != nil {
		return err
	}
	if err := notes.CheckPassword(password); err != nil {
		return err
	}
	_, err = a.Change(ctx, u.ID, admin.UserChange{Password: password})
	return a.done(err, "reset; its sessions and app tokens are ended:", email, password)
}

// changeUser returns the command that makes a change and prints said with the account's address.
func changeUser(said string, change admin.UserChange) userCommand {
	return func(ctx context.Context, a accounts, email string) error {
		u, _, err := a.find(ctx, email)
		if err != nil {
			return err
		}
		_, err = a.Change(ctx, u.ID, change)
		if err == nil || errors.Is(err, auth.ErrStale) {
			fmt.Fprintf(a.Out, said, shownAddress(email))
		}
		return err
	}
}

func deleteUser(ctx context.Context, a accounts, email string) error {
	u, _, err := a.find(ctx, email)
	if err != nil {
		return err
	}
	err = a.Delete(ctx, u.ID)
	if err == nil || errors.Is(err, auth.ErrStale) {
		fmt.Fprintf(a.Out, "deleted %s and all of its notes\n", shownAddress(u.Email))
	}
	return err
}

// find returns the account of an address, and the quotas of accounts that have none of their own.
func (a accounts) find(ctx context.Context, email string) (admin.User, admin.UserQuotas, error) {
	page, err := a.List(ctx, admin.UserList{Email: email})
	if err == nil && (email == "" || len(page.Users) == 0) {
		err = fmt.Errorf("no account has the address %s", shownAddress(email))
	}
	if err != nil {
		return admin.User{}, admin.UserQuotas{}, err
	}
	return page.Users[0], page.Defaults, nil
}

// password returns the password that was given. If none was, it generates one.
func (a accounts) password() (string, error) {
	if !a.fromInput {
		return rand.Text(), nil
	}
	line, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// done prints what was done, and the password if it was generated here. It also does so after
// ErrStale, because the password is changed then, and the user would be locked out if it were not
// printed.
func (a accounts) done(err error, what, email, password string) error {
	if err != nil && !errors.Is(err, auth.ErrStale) {
		return err
	}
	fmt.Fprintf(a.Out, "%s %s\n", what, shownAddress(email))
	if !a.fromInput {
		fmt.Fprintf(a.Out, "password: %s\n", password)
	}
	return err
}

// listUsers prints all accounts.
func (p Process) listUsers(ctx context.Context, m manager) error {
	table := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "EMAIL\tID\tCREATED\tLAST SIGN-IN\tLOCKED UNTIL\tDISABLED\tTOTP\tNOTES\tMB")
	for after := ""; ; {
		page, err := m.List(ctx, admin.UserList{After: after, Limit: admin.MaxUserPage})
		if err != nil {
			return err
		}
		for _, u := range page.Users {
			totp := "-"
			if u.TOTP {
				totp = "on"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%.1f\n", shownAddress(u.Email), logging.Printable(u.ID),
				when(&u.CreatedAt), when(u.LastLoginAt), when(u.LockedUntil), when(u.DisabledAt), totp, u.Notes,
				float64(u.Bytes)/(1<<20))
		}
		if after = page.Next; after == "" {
			return table.Flush()
		}
	}
}

// when formats t for people to read. No time is a dash.
func when(t *router.Time) string {
	if t == nil {
		return "-"
	}
	return time.Time(*t).UTC().Format("2006-01-02 15:04")
}
