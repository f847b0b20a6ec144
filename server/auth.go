package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"notesd/internal/ratelimit"
	"notesd/notes"
	"notesd/store"
)

const (
	signUpWindow      = time.Hour
	signUpsPerAddress = 100
)

// userJSON is a user as the API shows one.
type userJSON struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Name  string `json:"name"`
}

func userOutput(u store.User) userJSON { return userJSON{ID: u.ID, Email: u.Email, Name: u.Name} }

// welcome is the response to a sign-up and a sign-in.
type welcome struct {
	User    userJSON `json:"user"`
	Message string   `json:"message,omitempty"`
}

// credentials are the body of register and login.
type credentials struct {
	email, password string
	remember        bool
}

func (s *Server) readCredentials(x *exchange) (credentials, error) {
	o, err := s.readObject(x)
	if err != nil {
		return credentials{}, err
	}
	email, okEmail := o.text("email")
	password, okPassword := o.text("password")
	remember, okRemember := o.flag("rememberMe")
	if !okEmail || !okPassword || !okRemember || email == "" || password == "" {
		return credentials{}, errInputFormat
	}
	return credentials{email, password, remember}, nil
}

// register handles POST /api/auth/register.
func register(s *Server, x *exchange) error {
	in, err := s.readCredentials(x)
	if err != nil {
		return err
	}
	if err := notes.CheckNewAccount(in.email, in.password); err != nil {
		return err
	}
	if !s.cfg.RegistrationOpen {
		return errClosed
	}
	if err := s.limitSignUps(x); err != nil {
		return err
	}
	if err := s.reserveHash(x); err != nil {
		return err
	}
	hash, err := hashPassword(in.password)
	if err != nil {
		return err
	}
	u := store.User{ID: store.NewID(), Email: in.email, Name: notes.AccountName(in.email), PasswordHash: hash}
	err = s.sessions.begin(x.ctx, &x.out, x.Request(), s.arrival(x, u, in.remember),
		func(ctx context.Context, first store.Session) error { return s.signUp(ctx, u, first) })
	if errors.Is(err, store.ErrDuplicate) {
		return errRegistration
	}
	if err != nil {
		return err
	}
	s.knowDevice(x, u)
	return x.data(http.StatusCreated, welcome{userOutput(u), "Account created successfully"})
}

// signUp creates an account and its first session. It creates both or neither: otherwise a retry
// would be refused. With Redis, the session is saved first. Until the account exists, the session
// signs no user in.
func (s *Server) signUp(ctx context.Context, u store.User, first store.Session) error {
	if s.redis == nil {
		_, err := s.store.SignUp(ctx, u, &first)
		return err
	}
	sessions := newRedisSessions(s.redis, s.store)
	if err := sessions.put(ctx, first); err != nil {
		return err
	}
	_, err := s.store.SignUp(ctx, u, nil)
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
func (s *Server) limitSignUps(x *exchange) error {
	if s.cfg.RateLimitMax <= 0 {
		return nil
	}
	d, err := ratelimit.TakeAddress(x.addr, signUpsPerAddress, func(key string, limit int) (ratelimit.Decision, error) {
		return s.general.Take(x.ctx, "sign-up "+key, limit, signUpWindow)
	})
	if err != nil {
		return err
	}
	return x.obey(d)
}

// login handles POST /api/auth/login. An unknown account takes the same time and gets the same
// response as a wrong password. Every attempt is counted before the password is checked, so
// parallel guesses gain nothing.
func login(s *Server, x *exchange) error {
	in, err := s.readCredentials(x)
	if err != nil {
		return err
	}
	if len(in.password) > notes.MaxPassword || !notes.ValidText(in.email) {
		return errInputFormat
	}
	if len(in.email) > notes.MaxImportedEmail {
		in.email = "" // belongs to no account either, and is cheap to fold and to look up
	}
	u, err := s.store.UserByEmail(x.ctx, in.email)
	known := err == nil
	if !known && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	folded := notes.Fold(in.email)
	g := s.guesserOf(x, u, folded)
	until, err := s.lockedUntil(x, g, u)
	if err != nil {
		return err
	}
	if wait := time.Until(until); wait > 0 {
		return lockedFor(wait)
	}
	if err := s.reserveHash(x); err != nil { // before the attempt is counted
		return err
	}
	refund, wait, err := s.signInLimit.reserve(x.ctx, g.addr, folded)
	if err != nil {
		return err
	}
	if wait > 0 {
		writeLimitHeaders(x.out.Header(), ratelimit.Decision{Limit: signInsPerPair, Reset: wait, RetryAfter: wait})
		return &limited{"sign_in_limit", "Too many authentication attempts, please try again later.", wait}
	}
	s.bcryptCost.raise(u.PasswordHash)
	if !known || !verifyPassword(u.PasswordHash, in.password) {
		paddingFor(u.PasswordHash, int(s.bcryptCost.Load())).compute(in.password)
		return s.wrongPassword(x, g, u)
	}
	refund(x.ctx)
	return s.rightPassword(x, g, u, in)
}

func (s *Server) wrongPassword(x *exchange, g guesser, u store.User) error {
	until, err := s.countFailure(x, g, u)
	// The account may have been deleted while the password was verified.
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrOwnerGone) {
		return errCredentials
	}
	if err != nil {
		return err
	}
	if time.Until(until) > 0 {
		return &locked{"Account locked due to too many failed login attempts. Try again in 15 minutes."}
	}
	return errCredentials
}

func (s *Server) rightPassword(x *exchange, g guesser, u store.User, in credentials) error {
	err := s.countSuccess(x, g, u)
	if errors.Is(err, store.ErrLocked) { // the account was locked by guesses after it was read
		return lockedFor(15 * time.Minute)
	}
	if err != nil {
		return err
	}
	if needsRehash(u.PasswordHash) {
		if err := s.rehash(x, u, in.password); err != nil {
			return err
		}
	}
	if err := s.signIn(x, u, in.remember); err != nil {
		return err
	}
	s.knowDevice(x, u)
	return x.data(http.StatusOK, welcome{userOutput(u), "Logged in successfully"})
}

// rehash replaces an older hash, such as a bcrypt hash of the old server, by one with the current
// parameters. If another sign-in has replaced it first, that is as good.
func (s *Server) rehash(x *exchange, u store.User, password string) error {
	hash, err := hashPassword(password)
	if err != nil {
		return err
	}
	return s.store.ReplaceHash(x.ctx, u.ID, u.PasswordHash, hash)
}

func lockedFor(wait time.Duration) error {
	minutes := int((wait + time.Minute - 1) / time.Minute)
	plural := "s"
	if minutes == 1 {
		plural = ""
	}
	return &locked{fmt.Sprintf("Account locked. Try again in %d minute%s.", minutes, plural)}
}

func (s *Server) signIn(x *exchange, u store.User, remember bool) error {
	return s.sessions.signIn(x.ctx, &x.out, x.Request(), s.arrival(x, u, remember))
}

func (s *Server) arrival(x *exchange, u store.User, remember bool) arrival {
	return arrival{userID: u.ID, epoch: u.SessionEpoch, address: x.addr, remember: remember, secure: s.secure(x.Request())}
}

// logout handles POST /api/auth/logout, with or without a session.
func logout(s *Server, x *exchange) error {
	if err := s.sessions.signOut(x.ctx, &x.out, x.Request(), s.secure(x.Request())); err != nil {
		return err
	}
	// "storage" is not cleared, because an app may keep text there that it could not send yet.
	x.out.Header().Set("Clear-Site-Data", `"cache"`)
	return x.message("Logged out successfully")
}

// me handles GET /api/auth/me.
func me(s *Server, x *exchange) error {
	if x.user == "" {
		return errNobody
	}
	u, err := s.store.User(x.ctx, x.user)
	if errors.Is(err, store.ErrNotFound) {
		return errNobody
	}
	if err != nil {
		return err
	}
	return x.data(http.StatusOK, welcome{User: userOutput(u)})
}
