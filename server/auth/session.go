package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"notesd/internal/cache"
	"notesd/store"
)

const (
	sessionCookie = "sessionId"
	// hostCookie is the cookie over TLS. Another site or plain HTTP cannot plant it.
	hostCookie     = "__Host-sessionId"
	maxTokens      = 8 // tokens of one request that are looked up, at most
	sessionLife    = 24 * time.Hour
	rememberedLife = 30 * 24 * time.Hour
	// sessionTokenBytes is the length of 32 random bytes in base64url, as scs makes its tokens.
	sessionTokenBytes = 43
	maxUserAgent      = 256 // bytes of the User-Agent header that are kept
)

// sessionBackend stores sessions under keys that are hashes of tokens. *store.Store and
// redisSessions implement it. FindSession returns ErrNotFound for a session that has expired or is
// of an older epoch than its account. The session it returns needs no field but Data. SaveSession
// returns ErrEpoch for a session of an older epoch. DeleteSessions keeps the session exceptKey.
// SeeSessions notes in which hour sessions were used, for Session.LastSeenAt.
type sessionBackend interface {
	FindSession(ctx context.Context, key string) (store.Session, error)
	SaveSession(ctx context.Context, session store.Session) error
	DeleteSession(ctx context.Context, key string) error
	DeleteSessions(ctx context.Context, userID, exceptKey string) error
	Sessions(ctx context.Context, userID string) ([]store.Session, error)
	SeeSessions(ctx context.Context, used []store.Use, hour time.Time) error
}

// Sessions finds the user of a request by its session token. A session is written when it begins
// and deleted when it ends, and never in between. So a request that is still running cannot restore
// a session that was signed out. For this reason there is no idle timeout. For the same reason
// scs.LoadAndSave is not used: it would commit sessions and set cookies whenever it sees fit. The
// last use of a session is noted beside it (see uses), which cannot restore it either.
type Sessions struct {
	scs     *scs.SessionManager // sets the cookie for plain HTTP
	secure  *scs.SessionManager // the same sessions, with a cookie that is sent over TLS only
	host    *scs.SessionManager // the same sessions, with a cookie that only this host can set
	tokens  *tokenStore
	backend sessionBackend
	cache   *cache.Cache
	hints   *userHints
	uses    *uses
	max     int // sessions that one user may have; 0: any number
}

// newSessions keeps sessions in backend, and caches them in c. The key of a new session is the hash
// of its token under the first secret. A session is found under any of the secrets.
func newSessions(backend sessionBackend, secrets []string, c *cache.Cache) *Sessions {
	backend = uncachingSessions{backend, c}
	tokens := &tokenStore{backend: backend}
	for _, secret := range secrets {
		tokens.secrets = append(tokens.secrets, []byte(secret))
	}
	// scs.New is not used: it starts a goroutine for a store in memory, and that goroutine never
	// ends.
	plain := scs.SessionManager{
		Lifetime: sessionLife,
		Store:    tokens,
		Codec:    sessionCodec{},
		Cookie: scs.SessionCookie{
			Name: sessionCookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Persist: true,
		},
	}
	secure := plain
	secure.Cookie.Secure = true
	host := secure
	host.Cookie.Name = hostCookie
	return &Sessions{scs: &plain, secure: &secure, host: &host, tokens: tokens, backend: backend, cache: c,
		hints: newUserHints(), uses: newUses(backend.SeeSessions)}
}

// NewSession describes a session that is about to begin: which user signs in, and how.
type NewSession struct {
	UserID   string
	Epoch    int64  // the account's epoch, when the account was read to verify the password
	Address  string // the client's address, for the list of sessions
	Remember bool   // the session lasts 30 days, not 24 hours
	Secure   bool   // the cookie is sent over TLS only
}

// maxEnded is how many sessions one sign-in ends at most.
const maxEnded = 16

// makeRoom ends a user's oldest sessions, so that one more session does not exceed the limit.
// Concurrent sign-ins may each leave one session too many, until the next sign-in.
func (s *Sessions) makeRoom(ctx context.Context, userID string) error {
	if s.max == 0 {
		return nil
	}
	list, err := s.backend.Sessions(ctx, userID)
	if err != nil {
		return err
	}
	for range min(maxEnded, len(list)-s.max+1) {
		oldest := list[len(list)-1]
		list = list[:len(list)-1]
		if err := s.backend.DeleteSession(ctx, oldest.Key); err != nil {
			return err
		}
	}
	return nil
}

// SignIn begins a session and sets its cookie in w's header. The token is always new. A token that
// the request r brought is invalid afterwards, so a planted token gains nothing. The error is
// store.ErrEpoch if the sessions of the account have been ended since the account was read.
func (s *Sessions) SignIn(ctx context.Context, w http.ResponseWriter, r *http.Request, n NewSession) error {
	if err := s.makeRoom(ctx, n.UserID); err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	return s.begin(ctx, w, r, n, s.backend.SaveSession)
}

// begin is SignIn with save in place of SaveSession. The session that the request brought ends only
// after the new session is saved. So a user whose sign-in fails keeps the old session.
func (s *Sessions) begin(ctx context.Context, w http.ResponseWriter, r *http.Request, n NewSession,
	save func(context.Context, store.Session) error) error {
	ctx, err := s.scs.Load(ctx, "")
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	now := time.Now()
	if n.Remember {
		s.scs.SetDeadline(ctx, now.Add(rememberedLife).UTC())
	}
	s.scs.Put(ctx, recordKey, sessionRecord{
		UserID:     n.UserID,
		Epoch:      &n.Epoch,
		Created:    now.UnixMilli(),
		Remembered: n.Remember,
		UserAgent:  shortText(r.UserAgent(), maxUserAgent),
		Address:    n.Address,
	})
	manager := *s.scs
	manager.Store = &tokenStore{backend: savedBy{s.backend, save}, secrets: s.tokens.secrets}
	token, expiry, err := manager.Commit(ctx)
	if err == nil {
		err = s.endAll(ctx, r)
	}
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	s.writeCookie(ctx, w, token, expiry, n.Secure)
	return nil
}

// endAll ends every session whose token the request brings, under either cookie name.
func (s *Sessions) endAll(ctx context.Context, r *http.Request) error {
	for _, token := range tokensOf(append(r.CookiesNamed(hostCookie), r.CookiesNamed(sessionCookie)...)) {
		if err := s.tokens.end(ctx, token); err != nil {
			return err
		}
	}
	return nil
}

// SignOut ends all sessions whose tokens the request brings, and clears the cookies. If the session
// backend is unavailable, the cookie stays, so that the client can try again.
func (s *Sessions) SignOut(ctx context.Context, w http.ResponseWriter, r *http.Request, secure bool) error {
	if err := s.endAll(ctx, r); err != nil {
		return fmt.Errorf("sign out: %w", err)
	}
	s.writeCookie(ctx, w, "", time.Time{}, secure)
	return nil
}

// Revoke ends all sessions of a user but the one with exceptKey, which may be empty.
func (s *Sessions) Revoke(ctx context.Context, userID, exceptKey string) error {
	if err := s.backend.DeleteSessions(ctx, userID, exceptKey); err != nil {
		return fmt.Errorf("revoke sessions: %w", err)
	}
	return nil
}

// List returns the sessions of a user, the newest first.
func (s *Sessions) List(ctx context.Context, userID string) ([]store.Session, error) {
	return s.backend.Sessions(ctx, userID)
}

// shortText returns the first limit bytes of s, without what is not valid UTF-8.
func shortText(s string, limit int) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}

// recordKey is the key of the sessionRecord among scs's values.
const recordKey = "session"

// sessionRecord is the content of a session. It does not change during the session's life.
type sessionRecord struct {
	UserID string `json:"uid"`
	// Epoch is the account's epoch when the session began; nil: the session was made by a binary
	// without epochs.
	Epoch      *int64 `json:"epoch,omitempty"`
	Created    int64  `json:"created"` // Unix milliseconds, as is Expires
	Expires    int64  `json:"expires"`
	Remembered bool   `json:"remembered,omitempty"`
	UserAgent  string `json:"agent,omitempty"`
	Address    string `json:"address,omitempty"`
}

// readRecord decodes a sessionRecord. Data of another format gives the zero record, which belongs
// to no user.
func readRecord(data []byte) sessionRecord {
	var record sessionRecord
	if json.Unmarshal(data, &record) != nil {
		return sessionRecord{}
	}
	return record
}

// isOf reports whether the session is of the account's epoch. A session without an epoch is of it
// if the session did not begin before it. Such sessions come from the binary before this one, which
// may run beside it and does not know epochs.
func (r sessionRecord) isOf(epoch int64) bool {
	if r.Epoch == nil {
		return r.Created >= epoch
	}
	return *r.Epoch == epoch
}

// storedSession returns the store.Session with key and data. It fills the other fields from data.
func storedSession(key string, data []byte) store.Session {
	r := readRecord(data)
	session := store.Session{
		Key: key, UserID: r.UserID, Data: data, UserAgent: r.UserAgent, Address: r.Address,
		CreatedAt: time.UnixMilli(r.Created).UTC(), ExpiresAt: time.UnixMilli(r.Expires).UTC(),
	}
	if r.Epoch != nil {
		session.Epoch = *r.Epoch
	}
	return session
}

// sessionCodec encodes a sessionRecord as JSON for scs.
type sessionCodec struct{}

func (sessionCodec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	record, _ := values[recordKey].(sessionRecord)
	record.Expires = deadline.UnixMilli()
	return json.Marshal(record)
}

func (sessionCodec) Decode(data []byte) (time.Time, map[string]any, error) {
	record := readRecord(data)
	return time.UnixMilli(record.Expires).UTC(), map[string]any{recordKey: record}, nil
}

// tokenStore is scs's store. The backend gets a token only as a hash under one of our secrets, so a
// copy of the backend opens no session.
type tokenStore struct {
	backend sessionBackend
	secrets [][]byte // the first one hashes new tokens, and all are tried for a lookup
}

func sessionKey(secret []byte, token string) string { return keyedHash(secret, "session", token) }

// find returns the session of token and its key, under whichever secret the token was hashed.
func (t *tokenStore) find(ctx context.Context, token string) (key string, s store.Session, err error) {
	for _, secret := range t.secrets {
		key = sessionKey(secret, token)
		if s, err = t.backend.FindSession(ctx, key); !errors.Is(err, store.ErrNotFound) {
			return key, s, err
		}
	}
	return "", store.Session{}, store.ErrNotFound
}

// end ends the session of token, if there is one.
func (t *tokenStore) end(ctx context.Context, token string) error {
	if token == "" {
		return nil
	}
	key, _, err := t.find(ctx, token)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.backend.DeleteSession(ctx, key)
}

// savedBy is a backend that calls save in place of SaveSession.
type savedBy struct {
	sessionBackend
	save func(context.Context, store.Session) error
}

func (s savedBy) SaveSession(ctx context.Context, session store.Session) error {
	return s.save(ctx, session)
}

// CommitCtx is called by scs.Commit, for new sessions only. It ignores the expiry, since data
// contains it.
func (t *tokenStore) CommitCtx(ctx context.Context, token string, data []byte, _ time.Time) error {
	return t.backend.SaveSession(ctx, storedSession(sessionKey(t.secrets[0], token), data))
}

// FindCtx and the methods below complete scs.CtxStore. They do nothing: scs only makes tokens and
// cookies here, and it neither finds nor deletes sessions.
func (t *tokenStore) FindCtx(context.Context, string) ([]byte, bool, error) { return nil, false, nil }
func (t *tokenStore) DeleteCtx(context.Context, string) error               { return nil }
func (t *tokenStore) Find(string) ([]byte, bool, error)                     { return nil, false, nil }
func (t *tokenStore) Delete(string) error                                   { return nil }
func (t *tokenStore) Commit(token string, data []byte, expiry time.Time) error {
	return t.CommitCtx(context.Background(), token, data, expiry)
}
