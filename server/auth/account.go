package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"notesd/internal/cache"
	"notesd/internal/ratelimit"
	"notesd/internal/redis"
	"notesd/notes"
	"notesd/store"
)

const (
	signUpWindow      = time.Hour
	signUpsPerAddress = 100
)

// Config is the configuration of Accounts.
type Config struct {
	Secrets          []string // the first one signs, and all verify
	SessionsPerUser  int      // 0: any number
	RegistrationOpen bool
	Store            *store.Store
	Redis            *redis.Client // nil: sessions and failed sign-ins are in the store
	Cache            *cache.Cache  // for sessions
	// SessionEnded is called when this process has ended a session: the one with the key, or, if the
	// key is empty, all of the user's. It may be nil.
	SessionEnded func(key, userID string)
	// Limiter limits the attempts to create accounts; nil: they are not limited.
	Limiter *ratelimit.Limiter
	Log     *slog.Logger // nil: slog.Default()
}

// backend returns the backend of the sessions.
func (cfg Config) backend() sessionBackend {
	backend := backendFor(cfg.Store, cfg.Redis)
	if cfg.SessionEnded == nil {
		return backend
	}
	return reportedSessions{backend, cfg.SessionEnded}
}

// reportedSessions is a sessionBackend that reports each end of a session, also one that failed:
// the session may have ended all the same.
type reportedSessions struct {
	sessionBackend
	ended func(key, userID string)
}

func (r reportedSessions) DeleteSession(ctx context.Context, key string) error {
	defer r.ended(key, "")
	return r.sessionBackend.DeleteSession(ctx, key)
}

func (r reportedSessions) DeleteSessions(ctx context.Context, userID, exceptKey string) error {
	defer r.ended("", userID)
	return r.sessionBackend.DeleteSessions(ctx, userID, exceptKey)
}

// Accounts registers users, and signs them in with their passwords. New makes it.
type Accounts struct {
	// Sessions are the sessions of the accounts.
	Sessions *Sessions

	store       *store.Store
	redis       *redis.Client
	ended       func(key, userID string) // see Config.SessionEnded
	open        bool
	limiter     *ratelimit.Limiter
	signInLimit *signInLimit
	wrongTokens wrongTokens
	tokenUses   *uses
	devices     devices
	bcryptCost  bcryptCost
	totpKeys    totpKeys
	log         *slog.Logger
	lateEntries chan struct{} // entries of accounts' logs that are yet to be written
}

// New returns the accounts in cfg.Store. It hashes a password, which takes some 20 ms.
func New(cfg Config) *Accounts {
	a := &Accounts{
		Sessions:    newSessions(cfg.backend(), cfg.Secrets, cfg.Cache),
		store:       cfg.Store,
		redis:       cfg.Redis,
		ended:       cfg.SessionEnded,
		open:        cfg.RegistrationOpen,
		limiter:     cfg.Limiter,
		signInLimit: newSignInLimit(cfg.Redis, cfg.Store, cfg.Secrets[0]),
		wrongTokens: wrongTokens{ratelimit.NewBuckets()},
		tokenUses:   newUses(cfg.Store.UseAppTokens),
		devices:     devices{cfg.Secrets},
		totpKeys:    newTOTPKeys(cfg.Secrets),
		log:         cmp.Or(cfg.Log, slog.Default()),
		lateEntries: make(chan struct{}, maxLateEntries),
	}
	a.Sessions.max = cfg.SessionsPerUser
	if a.ended == nil {
		a.ended = func(string, string) {}
	}
	return a
}

// Client is the client that sends a request, as far as accounts need to know it.
type Client struct {
	Request *http.Request
	Address string // the client's IP address
	Secure  bool   // cookies are set for TLS only
	// ReserveHash reserves HashBytes of memory until the request ends. It may wait, and returns an
	// error if there is no memory.
	ReserveHash func(context.Context) error
}

// Credentials are an address and its password, and a one-time code or a recovery code if the account
// needs one.
type Credentials struct {
	Email, Password string
	Code            string
	Remember        bool // the session lasts 30 days, not 24 hours
}

// Register creates an account, and begins its first session with a cookie in w's header. It creates
// both or neither. Errors: those of notes.CheckNewAccount, ErrRegistrationClosed, ErrRegistration, a
// *ratelimit.LimitedError.
func (a *Accounts) Register(ctx context.Context, w http.ResponseWriter, c Client, in Credentials) (store.User, error) {
	if err := notes.CheckNewAccount(in.Email, in.Password); err != nil {
		return store.User{}, err
	}
	if !a.open {
		return store.User{}, ErrRegistrationClosed
	}
	if err := a.limitSignUps(ctx, c.Address); err != nil {
		return store.User{}, err
	}
	if err := c.ReserveHash(ctx); err != nil {
		return store.User{}, err
	}
	hash, err := hashPassword(in.Password)
	if err != nil {
		return store.User{}, err
	}
	u := store.User{ID: store.NewID(), Email: in.Email, Name: notes.AccountName(in.Email), PasswordHash: hash}
	// Both or neither: otherwise a retry would be refused.
	err = a.Sessions.begin(ctx, w, c.Request, c.newSession(u, in.Remember),
		func(ctx context.Context, first store.Session) error {
			return a.saveFirst(ctx, first, func(ctx context.Context, first *store.Session) error {
				_, err := a.store.SignUp(ctx, u, first)
				return err
			})
		})
	if errors.Is(err, store.ErrDuplicate) {
		return store.User{}, ErrRegistration
	}
	if err != nil {
		return store.User{}, err
	}
	a.devices.remember(w, c.Request, u, c.Secure)
	a.Record(ctx, c, u.ID, store.EventSignedUp)
	return u, nil
}

func (c Client) newSession(u store.User, remember bool) NewSession {
	return NewSession{UserID: u.ID, Epoch: u.SessionEpoch, Address: c.Address, Remember: remember, Secure: c.Secure}
}

// saveFirst saves the first session of an account, or of a new epoch of it, together with the write
// that it depends on: both or neither. With Redis, the session is saved first, and write gets nil.
// Until write has succeeded, the session signs no user in.
func (a *Accounts) saveFirst(ctx context.Context, first store.Session,
	write func(ctx context.Context, first *store.Session) error) error {
	if a.redis == nil {
		return write(ctx, &first)
	}
	sessions := newRedisSessions(a.redis, a.store)
	if err := sessions.put(ctx, first); err != nil {
		return err
	}
	err := write(ctx, nil)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signInRefundTimeout)
		defer cancel()
		// If that fails, the session stays useless until it expires.
		_ = sessions.DeleteSession(ctx, first.Key)
	}
	return err
}

// limitSignUps counts an attempt to create an account. Each attempt costs a hash, and it either
// reveals that the address is taken or creates an account.
func (a *Accounts) limitSignUps(ctx context.Context, address string) error {
	if a.limiter == nil {
		return nil
	}
	d, err := ratelimit.TakeAddress(address, signUpsPerAddress,
		func(key string, limit int) (ratelimit.Decision, error) {
			return a.limiter.Take(ctx, "sign-up "+key, limit, signUpWindow)
		})
	if err != nil {
		return err
	}
	return d.Err()
}

// AddAccount creates an account by the same rules as a sign-up, even if registration is closed. It
// returns store.ErrDuplicate if the address has an account already.
func AddAccount(ctx context.Context, db *store.Store, email, password string) (store.User, error) {
	if err := notes.CheckNewAccount(email, password); err != nil {
		return store.User{}, err
	}
	hash, err := hashPassword(password)
	if err != nil {
		return store.User{}, err
	}
	return db.CreateUser(ctx, email, notes.AccountName(email), hash)
}

// ResetPassword sets a new password for the account, turns its one-time codes off, and ends its
// sessions, wherever they are stored. The account's new epoch ends them even if rdb is nil although
// the server uses Redis.
func ResetPassword(ctx context.Context, db *store.Store, rdb *redis.Client, id, password string) error {
	if err := notes.CheckPassword(password); err != nil {
		return err
	}
	hash, err := hashPassword(password)
	if err != nil {
		return err
	}
	if err := db.SetPassword(ctx, id, hash); err != nil {
		return err
	}
	if err := db.RemoveTOTP(ctx, id); err != nil {
		return err
	}
	return announceEnd(ctx, db, rdb, id)
}

// DeleteAccount deletes the account with its notes and ends its sessions.
func DeleteAccount(ctx context.Context, db *store.Store, rdb *redis.Client, id string) error {
	if err := db.DeleteUser(ctx, id); err != nil {
		return err
	}
	return announceEnd(ctx, db, rdb, id)
}

// DisableAccount keeps the account from signing in, and ends its sessions.
func DisableAccount(ctx context.Context, db *store.Store, rdb *redis.Client, id string) error {
	if err := db.Disable(ctx, id); err != nil {
		return err
	}
	return announceEnd(ctx, db, rdb, id)
}

// ErrStale says that the account was changed, but a running server may accept its sessions for
// another minute.
var ErrStale = errors.New("a running server that could not be told may accept the account's sessions " +
	"for another minute")

// announceEnd tells this server and all others that run that the account's epoch has ended its
// sessions, and deletes the remains of these sessions. A session that Redis fails to delete now
// expires there, and signs no user in.
func announceEnd(ctx context.Context, db *store.Store, rdb *redis.Client, id string) error {
	db.DropSessions(id)
	_ = rawBackendFor(db, rdb).DeleteSessions(ctx, id, "")
	if err := db.AnnounceRevoked(ctx, "", id); err != nil {
		return fmt.Errorf("%w: %w", ErrStale, err)
	}
	return nil
}

// backendFor returns the backend that stores sessions. It is Redis, if there is one, so that
// replicas share the sessions.
func backendFor(db *store.Store, rdb *redis.Client) sessionBackend {
	return announcedSessions{rawBackendFor(db, rdb), db}
}

func rawBackendFor(db *store.Store, rdb *redis.Client) sessionBackend {
	if rdb != nil {
		return newRedisSessions(rdb, db)
	}
	return db
}

// announcedSessions is a sessionBackend that announces the end of a session to the other processes.
// A session has ended once no process that serves the store's users knows it any more.
type announcedSessions struct {
	sessionBackend
	store *store.Store
}

func (a announcedSessions) DeleteSession(ctx context.Context, key string) error {
	if err := a.sessionBackend.DeleteSession(ctx, key); err != nil {
		return err
	}
	return a.store.AnnounceRevoked(ctx, key, "")
}

func (a announcedSessions) DeleteSessions(ctx context.Context, userID, exceptKey string) error {
	if err := a.sessionBackend.DeleteSessions(ctx, userID, exceptKey); err != nil {
		return err
	}
	return a.store.AnnounceRevoked(ctx, "", userID)
}
