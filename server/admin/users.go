package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"notesd/internal/redis"
	"notesd/notes"
	"notesd/server/auth"
	"notesd/server/router"
	"notesd/store"
)

const (
	// MaxUserPage is how many accounts a page of the list may have, and defaultUserPage how many it
	// has.
	MaxUserPage, defaultUserPage = 500, 100
	// maxQuota is the largest quota, in notes or bytes: JSON in a browser has no larger numbers.
	maxQuota = 1<<53 - 1
)

var (
	// ErrNoUser says that there is no such account.
	ErrNoUser = router.NewError(http.StatusNotFound, "Account not found")
	// ErrUserExists says that the e-mail address has an account.
	ErrUserExists = router.NewError(http.StatusConflict, "The address has an account already")
)

// Users is what operators do with accounts: through the API, and by commands. NewUsers makes it.
type Users struct {
	db    *store.Store
	redis *redis.Client
	log   *slog.Logger
	// quotas are for accounts that have none of their own.
	quotas UserQuotas
	from   string // the address of the operator; "": a command
}

// NewUsers returns the accounts in db, whose sessions are in rdb unless it is nil. quotaNotes and
// quotaBytes are the quotas of accounts that have none of their own; nil: no limit.
func NewUsers(db *store.Store, rdb *redis.Client, log *slog.Logger, quotaNotes, quotaBytes *int64) Users {
	none := new(int64(math.MaxInt64))
	notes, bytes := cmp.Or(quotaNotes, none), cmp.Or(quotaBytes, none)
	return Users{db: db, redis: rdb, log: log, quotas: quotasOf(notes, bytes, bytes)}
}

// A User is an account as operators see it.
type User struct {
	ID          string       `json:"id"`
	Email       string       `json:"email"`
	Name        string       `json:"name"`
	CreatedAt   router.Time  `json:"createdAt"`
	LastLoginAt *router.Time `json:"lastLoginAt"` // null: it never signed in
	LockedUntil *router.Time `json:"lockedUntil"` // null: it was not locked since the last sign-in
	DisabledAt  *router.Time `json:"disabledAt"`  // null: it may sign in
	TOTP        bool         `json:"totp"`        // a sign-in needs a one-time code
	Notes       int64        `json:"notes"`
	// Bytes are those that the quota limits, with both copies of each text (store.Copies).
	Bytes        int64 `json:"bytes"`
	HistoryBytes int64 `json:"historyBytes"`
	UserQuotas
}

// UserQuotas are the quotas of an account.
type UserQuotas struct {
	Notes   Quota `json:"quotaNotes"`
	Bytes   Quota `json:"quotaBytes"`
	History Quota `json:"quotaHistoryBytes"`
}

// A Quota is a limit, as the store has it: nil for the limit of the settings, and MaxInt64 for
// none. In JSON it is a number, "default" or "none".
type Quota struct{ Limit *int64 }

// MarshalJSON implements json.Marshaler.
func (q Quota) MarshalJSON() ([]byte, error) {
	switch {
	case q.Limit == nil:
		return []byte(`"default"`), nil
	case *q.Limit == math.MaxInt64:
		return []byte(`"none"`), nil
	}
	return strconv.AppendInt(nil, *q.Limit, 10), nil
}

var errQuota = errors.New("must be a whole number from 0, \"none\" or \"default\"")

// UnmarshalJSON implements json.Unmarshaler.
func (q *Quota) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case `"default"`:
		q.Limit = nil
		return nil
	case `"none"`:
		q.Limit = new(int64(math.MaxInt64))
		return nil
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 || n > maxQuota {
		return errQuota
	}
	q.Limit = &n
	return nil
}

// times returns the quota in units that are n times smaller.
func (q Quota) times(n int64) Quota {
	if q.Limit == nil || *q.Limit > math.MaxInt64/n {
		return q
	}
	return Quota{new(*q.Limit * n)}
}

// over returns the quota in units that are n times larger.
func (q Quota) over(n int64) Quota {
	if q.Limit == nil || *q.Limit == math.MaxInt64 {
		return q
	}
	return Quota{new(*q.Limit / n)}
}

// quotasOf returns the quotas that the store has.
func quotasOf(notes, bytes, history *int64) UserQuotas {
	return UserQuotas{Quota{notes}, Quota{bytes}.times(store.Copies), Quota{history}}
}

func userOutput(a store.Account) User {
	return User{
		ID: a.ID, Email: a.Email, Name: a.Name, CreatedAt: router.Time(a.CreatedAt),
		LastLoginAt: timeOrNull(a.LastLoginAt), LockedUntil: timeOrNull(a.LockedUntil),
		DisabledAt: timeOrNull(a.DisabledAt), TOTP: a.TOTP,
		Notes: a.Notes, Bytes: a.Used() * store.Copies, HistoryBytes: a.HistoryBytes,
		UserQuotas: quotasOf(a.QuotaNotes, a.QuotaBytes, a.QuotaHistory),
	}
}

func timeOrNull(t time.Time) *router.Time {
	if t.IsZero() {
		return nil
	}
	return new(router.Time(t))
}

// A UserPage is a page of the list of accounts.
type UserPage struct {
	Users []User `json:"users"`
	// Next is the e-mail address to continue after; "": there are no more accounts.
	Next string `json:"next,omitempty"`
	// Defaults are the quotas of accounts that have none of their own.
	Defaults UserQuotas `json:"defaults"`
}

// UserList says which accounts to list. All fields may be empty.
type UserList struct {
	Email string // the account of this address only
	After string // accounts with later addresses
	Limit int    // 0: defaultUserPage
}

// List returns a page of accounts, in the order of their e-mail addresses.
func (u Users) List(ctx context.Context, in UserList) (UserPage, error) {
	limit := cmp.Or(in.Limit, defaultUserPage)
	accounts, err := u.db.Accounts(ctx, store.AccountQuery{Email: in.Email, After: in.After, Limit: limit + 1})
	if err != nil {
		return UserPage{}, err
	}
	page := UserPage{Users: []User{}, Defaults: u.quotas}
	if len(accounts) > limit {
		accounts = accounts[:limit]
		page.Next = accounts[limit-1].Email
	}
	for _, a := range accounts {
		page.Users = append(page.Users, userOutput(a))
	}
	return page, nil
}

// UserResult is an account after a change.
type UserResult struct {
	User User `json:"user"`
	// Password is the account's new password if it was made here.
	Password string `json:"password,omitempty"`
}

// A NewUser is an account to make.
type NewUser struct {
	Email    string `json:"email"`
	Password string `json:"password,omitempty"` // "": one is made
}

// Add makes an account. Errors: those of notes.CheckNewAccount, ErrUserExists.
func (u Users) Add(ctx context.Context, in NewUser) (UserResult, error) {
	password, made := passwordOrNew(in.Password)
	user, err := auth.AddAccount(ctx, u.db, in.Email, password)
	if errors.Is(err, store.ErrDuplicate) {
		return UserResult{}, ErrUserExists
	}
	if err != nil {
		return UserResult{}, err
	}
	u.record(ctx, user.ID, store.EventSignedUp)
	return u.result(ctx, user.ID, made)
}

// passwordOrNew returns the given password, or else a random one, which is made.
func passwordOrNew(given string) (password, made string) {
	if given != "" {
		return given, ""
	}
	made = rand.Text()
	return made, made
}

// A UserChange is what to change of an account. What is empty stays as it is.
type UserChange struct {
	Disabled      *bool  `json:"disabled,omitempty"`
	Unlock        bool   `json:"unlock,omitempty"`        // forget the wrong passwords
	Password      string `json:"password,omitempty"`      // the new password
	ResetPassword bool   `json:"resetPassword,omitempty"` // make a new password, unless Password is one
	Notes         *Quota `json:"quotaNotes,omitempty"`
	Bytes         *Quota `json:"quotaBytes,omitempty"`
	History       *Quota `json:"quotaHistoryBytes,omitempty"`
}

// setsPassword reports whether the account gets a new password.
func (in UserChange) setsPassword() bool { return in.Password != "" || in.ResetPassword }

// Change changes an account, and returns it. Its sessions end if it is disabled or gets a new
// password. If an error is in the middle, what comes before it in UserChange is changed. After
// auth.ErrStale all is changed, and the result is complete. Other errors: ErrNoUser, and those of
// notes.CheckPassword.
func (u Users) Change(ctx context.Context, id string, in UserChange) (UserResult, error) {
	password, made := "", ""
	if in.setsPassword() {
		password, made = passwordOrNew(in.Password)
		if err := notes.CheckPassword(password); err != nil {
			return UserResult{}, err
		}
	}
	var stale error
	for _, step := range []struct {
		wanted bool
		event  store.AccountEvent
		do     func() error
	}{
		{in.Disabled != nil && *in.Disabled, store.EventDisabled, func() error {
			return auth.DisableAccount(ctx, u.db, u.redis, id)
		}},
		{in.Disabled != nil && !*in.Disabled, store.EventEnabled, func() error { return u.db.Enable(ctx, id) }},
		{in.Unlock, store.EventUnlocked, func() error { return u.db.Unlock(ctx, id) }},
		{in.setsPassword(), store.EventPasswordReset, func() error {
			return auth.ResetPassword(ctx, u.db, u.redis, id, password)
		}},
		{in.Notes != nil || in.Bytes != nil || in.History != nil, store.EventQuota, func() error {
			return u.setQuotas(ctx, id, in)
		}},
	} {
		if !step.wanted {
			continue
		}
		err := step.do()
		switch {
		case errors.Is(err, auth.ErrStale):
			stale = err
		case errors.Is(err, store.ErrNotFound):
			return UserResult{}, ErrNoUser
		case err != nil:
			return UserResult{}, err
		}
		u.record(ctx, id, step.event)
	}
	result, err := u.result(ctx, id, made)
	return result, cmp.Or(err, stale)
}

func (u Users) setQuotas(ctx context.Context, id string, in UserChange) error {
	c, err := u.db.Counters(ctx, id)
	if err != nil {
		return err
	}
	if in.Notes != nil {
		c.QuotaNotes = in.Notes.Limit
	}
	if in.Bytes != nil {
		c.QuotaBytes = in.Bytes.over(store.Copies).Limit
	}
	if in.Notes != nil || in.Bytes != nil {
		if err := u.db.SetQuota(ctx, id, c.QuotaNotes, c.QuotaBytes); err != nil {
			return err
		}
	}
	if in.History == nil {
		return nil
	}
	return u.db.SetHistoryQuota(ctx, id, in.History.Limit)
}

// Delete deletes an account with all of its notes. A server that runs deletes them in the
// background. Errors: ErrNoUser; auth.ErrStale if it is deleted all the same.
func (u Users) Delete(ctx context.Context, id string) error {
	remove := auth.BeginDeletion
	if u.from == "" {
		remove = auth.DeleteAccount
	}
	err := remove(ctx, u.db, u.redis, id)
	if errors.Is(err, store.ErrNotFound) {
		return ErrNoUser
	}
	if err == nil || errors.Is(err, auth.ErrStale) {
		u.record(ctx, id, store.EventDeletion)
	}
	return err
}

func (u Users) record(ctx context.Context, id string, event store.AccountEvent) {
	auth.RecordOperator(ctx, u.db, u.log, u.from, id, event)
}

// result returns the account with the password that was made.
func (u Users) result(ctx context.Context, id, made string) (UserResult, error) {
	accounts, err := u.db.Accounts(ctx, store.AccountQuery{ID: id})
	if err != nil {
		return UserResult{}, err
	}
	if len(accounts) == 0 {
		return UserResult{}, ErrNoUser
	}
	return UserResult{userOutput(accounts[0]), made}, nil
}

// usersOf returns the accounts for the operator who sends the request.
func (a *Admin) usersOf(c *router.Context) Users {
	notes, bytes := a.cfg.Store.DefaultQuotas()
	users := NewUsers(a.cfg.Store, a.cfg.Redis, a.cfg.Log, notes, bytes)
	users.from = c.Address()
	return users
}

func errUserFields(fields map[string]string) error {
	return &router.Error{Status: http.StatusBadRequest, Message: "Invalid account data", Fields: fields}
}

// listUsers handles GET /api/admin/users.
func (a *Admin) listUsers(c *router.Context) error {
	in := UserList{Email: c.Query("email"), After: c.Query("after")}
	if text := c.Query("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > MaxUserPage {
			return errUserFields(map[string]string{"limit": "must be from 1 to " + strconv.Itoa(MaxUserPage)})
		}
		in.Limit = n
	}
	if !notes.ValidText(in.Email) || !notes.ValidText(in.After) {
		return errUserFields(map[string]string{"email": "must be text"})
	}
	page, err := a.usersOf(c).List(c.Context(), in)
	if err != nil {
		return err
	}
	return c.Data(http.StatusOK, page)
}

// addUser handles POST /api/admin/users.
func (a *Admin) addUser(c *router.Context) error {
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	var in NewUser
	wrong := map[string]string{}
	readText(o, "email", &in.Email, wrong)
	readText(o, "password", &in.Password, wrong)
	if len(wrong) > 0 {
		return errUserFields(wrong)
	}
	if err := c.ReserveWait(c.Context(), auth.HashBytes); err != nil {
		return err
	}
	result, err := a.usersOf(c).Add(c.Context(), in)
	if err != nil {
		return err
	}
	c.SetHeader("Location", "/api/admin/users/"+result.User.ID)
	return c.Data(http.StatusCreated, result)
}

// changeUser handles PATCH /api/admin/users/:id.
func (a *Admin) changeUser(c *router.Context) error {
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	in, err := readUserChange(o)
	if err != nil {
		return err
	}
	if in.setsPassword() {
		if err := c.ReserveWait(c.Context(), auth.HashBytes); err != nil {
			return err
		}
	}
	id, err := userID(c)
	if err != nil {
		return err
	}
	result, err := a.usersOf(c).Change(c.Context(), id, in)
	if err != nil && !errors.Is(err, auth.ErrStale) {
		return err
	}
	return c.JSON(http.StatusOK, router.Envelope{Success: true, Data: result, Message: staleText(err)})
}

// userID returns the account's id in the path.
func userID(c *router.Context) (string, error) {
	id := c.Param("id")
	if !notes.ValidText(id) {
		return "", ErrNoUser
	}
	return id, nil
}

// deleteUser handles DELETE /api/admin/users/:id.
func (a *Admin) deleteUser(c *router.Context) error {
	id, err := userID(c)
	if err != nil {
		return err
	}
	err = a.usersOf(c).Delete(c.Context(), id)
	if err != nil && !errors.Is(err, auth.ErrStale) {
		return err
	}
	return c.Message(cmp.Or(staleText(err), "Account deleted"))
}

// staleText says that a change is done and not yet known to all servers; "": it is known.
func staleText(err error) string {
	if err == nil {
		return ""
	}
	return "Done, but " + auth.ErrStale.Error()
}

// readUserChange reads the body of a PATCH.
func readUserChange(o router.Object) (in UserChange, err error) {
	wrong := map[string]string{}
	flag := func(name string) bool {
		value, ok := o.Flag(name)
		if !ok {
			wrong[name] = "must be true or false"
		}
		return value
	}
	quota := func(name string) *Quota {
		if o[name] == nil {
			return nil
		}
		q := &Quota{}
		if err := json.Unmarshal(o[name], q); err != nil {
			wrong[name] = errQuota.Error()
		}
		return q
	}
	if disabled := flag("disabled"); o["disabled"] != nil {
		in.Disabled = &disabled
	}
	in.Unlock, in.ResetPassword = flag("unlock"), flag("resetPassword")
	readText(o, "password", &in.Password, wrong)
	in.Notes, in.Bytes, in.History = quota("quotaNotes"), quota("quotaBytes"), quota("quotaHistoryBytes")
	if len(wrong) > 0 {
		return in, errUserFields(wrong)
	}
	return in, nil
}

// readText reads a member that may be missing.
func readText(o router.Object, name string, text *string, wrong map[string]string) {
	if o[name] == nil {
		return
	}
	value, ok := o.Text(name)
	if !ok || value == "" {
		wrong[name] = "must be text, and not empty"
		return
	}
	*text = value
}
