package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"notesd/config"
	"notesd/internal/logging"
	"notesd/internal/redis"
	"notesd/server/auth"
	"notesd/store"
)

// userCommands maps the names of commands on accounts to their functions. User runs list and quota
// itself.
var userCommands = map[string]userCommand{
	"add":     addUser,
	"reset":   resetUser,
	"unlock":  unlockUser,
	"disable": disableUser,
	"enable":  enableUser,
	"delete":  deleteUser,
	"list":    nil,
	"quota":   nil,
}

const userUsage = `notesd user add EMAIL       make an account
notesd user reset EMAIL     give it a new password and end its sessions
notesd user unlock EMAIL    let it sign in though too many passwords were wrong
notesd user disable EMAIL   sign it out everywhere and refuse its password; its notes stay
notesd user enable EMAIL    let it sign in again
notesd user list            every account
notesd user quota EMAIL     what it stores and may store; -notes and -mb change that
notesd user delete EMAIL    delete it with all of its notes`

// User runs `notesd user …`.
func User(ctx context.Context, p Process, args []string) error {
	flags := p.newFlags(userUsage)
	fromInput := flags.Bool("password-stdin", false,
		"read the password from the first line of standard input (add, reset)")
	quotas := map[string]*string{
		"notes": flags.String("notes", "",
			"notes that the account may have: a number, none for no limit, or default for QUOTA_NOTES (quota)"),
		"mb": flags.String("mb", "",
			"megabytes that its notes may take: a number, none for no limit, or default for QUOTA_MB (quota)"),
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
	case name != "quota" && (*quotas["notes"] != "" || *quotas["mb"] != ""):
		return fmt.Errorf("user %s takes neither -notes nor -mb: %w", name, errUsage)
	case name == "list" && len(args) > 0:
		return fmt.Errorf("user list takes no arguments, not %q: %w", args, errUsage)
	case name == "list":
		return p.withStore(ctx, false, p.listUsers)
	case len(args) != 1:
		return fmt.Errorf("user %s takes one EMAIL, not %q: %w", name, args, errUsage)
	}
	if name == "quota" {
		command = quotaUser(*quotas["notes"], *quotas["mb"])
	}
	return p.withStore(ctx, name == "add", func(ctx context.Context, cfg config.Config, db *store.Store) error {
		return command(ctx, accounts{Process: p, db: db, cfg: cfg, fromInput: *fromInput}, args[0])
	})
}

// accounts is the context of a command on an account.
type accounts struct {
	Process
	db        *store.Store
	cfg       config.Config
	fromInput bool
}

type userCommand func(ctx context.Context, a accounts, email string) error

func addUser(ctx context.Context, a accounts, email string) error {
	password, err := a.password()
	if err != nil {
		return err
	}
	_, err = auth.AddAccount(ctx, a.db, email, password)
	if errors.Is(err, store.ErrDuplicate) {
		return fmt.Errorf("%s has an account already", shownAddress(email))
	}
	return a.done(err, "added", email, password)
}

func resetUser(ctx context.Context, a accounts, email string) error {
	u, err := a.find(ctx, email)
	if err != nil {
		return err
	}
	password, err := a.password()
	if err != nil {
		return err
	}
	err = a.withRedis(func(redis *redis.Client) error {
		return auth.ResetPassword(ctx, a.db, redis, u.ID, password)
	})
	return a.done(err, "reset; its sessions are ended:", email, password)
}

func unlockUser(ctx context.Context, a accounts, email string) error {
	u, err := a.find(ctx, email)
	if err != nil {
		return err
	}
	if err := a.db.Unlock(ctx, u.ID); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "unlocked %s\n", shownAddress(email))
	return nil
}

func disableUser(ctx context.Context, a accounts, email string) error {
	u, err := a.find(ctx, email)
	if err != nil {
		return err
	}
	err = a.withRedis(func(redis *redis.Client) error { return auth.DisableAccount(ctx, a.db, redis, u.ID) })
	if err == nil || errors.Is(err, auth.ErrStale) {
		fmt.Fprintf(a.Out, "disabled %s; its sessions are ended\n", shownAddress(u.Email))
	}
	return err
}

func enableUser(ctx context.Context, a accounts, email string) error {
	u, err := a.find(ctx, email)
	if err != nil {
		return err
	}
	if err := a.db.Enable(ctx, u.ID); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "enabled %s\n", shownAddress(u.Email))
	return nil
}

func deleteUser(ctx context.Context, a accounts, email string) error {
	u, err := a.find(ctx, email)
	if err != nil {
		return err
	}
	err = a.withRedis(func(redis *redis.Client) error { return auth.DeleteAccount(ctx, a.db, redis, u.ID) })
	if err == nil || errors.Is(err, auth.ErrStale) {
		fmt.Fprintf(a.Out, "deleted %s and all of its notes\n", shownAddress(u.Email))
	}
	return err
}

// withRedis runs fn with the Redis of the settings; nil: there is none.
func (a accounts) withRedis(fn func(*redis.Client) error) error {
	client, err := openRedis(a.cfg)
	if err != nil {
		return err
	}
	if client != nil {
		defer client.Close()
	}
	return fn(client)
}

func (a accounts) find(ctx context.Context, email string) (store.User, error) {
	u, err := a.db.UserByEmail(ctx, email)
	if errors.Is(err, store.ErrNotFound) {
		return u, fmt.Errorf("no account has the address %s", shownAddress(email))
	}
	return u, err
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

func (p Process) listUsers(ctx context.Context, _ config.Config, db *store.Store) error {
	table := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "EMAIL\tID\tCREATED\tLAST SIGN-IN\tLOCKED UNTIL\tDISABLED")
	for u, err := range db.Users(ctx) {
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", shownAddress(u.Email), logging.Printable(u.ID),
			when(u.CreatedAt), when(u.LastLoginAt), when(u.LockedUntil), when(u.DisabledAt))
	}
	return table.Flush()
}

// when formats t for people to read. The zero time is a dash.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("2006-01-02 15:04")
}
