package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"notesd/store"
)

const (
	sessionCookie     = "sessionId"
	hostCookie        = "__Host-sessionId" // the same over TLS: no other site and no plain HTTP can plant it
	maxTokens         = 8                  // of one request that are looked at
	sessionLife       = 24 * time.Hour
	rememberedLife    = 30 * 24 * time.Hour
	sessionTokenBytes = 43  // 32 random bytes in base64url: scs's tokens
	maxUserAgent      = 256 // bytes kept of it
)

// sessionBackend keeps sessions under keys that are no tokens: *store.Store and
// redisSessions. FindSession answers ErrNotFound for what has expired or is of an
// older epoch than its account, and need fill in no more than Data. SaveSession
// answers ErrEpoch for a session of an older epoch. DeleteSessions spares the
// session exceptKey.
type sessionBackend interface {
	FindSession(ctx context.Context, key string) (store.Session, error)
	SaveSession(ctx context.Context, session store.Session) error
	DeleteSession(ctx context.Context, key string) error
	DeleteSessions(ctx context.Context, userID, exceptKey string) error
	Sessions(ctx context.Context, userID string) ([]store.Session, error)
}

// sessions says who a request comes from. A session is written when it begins
// and deleted when it ends and never in between, so no request that is still
// running can bring back one that was signed out. That is why there is no idle
// timeout, and no scs.LoadAndSave, which would commit and set cookies whenever
// it sees fit.
type sessions struct {
	scs     *scs.SessionManager // sets cookies for plain HTTP
	secure  *scs.SessionManager // the same sessions, with cookies for TLS alone
	host    *scs.SessionManager // and with a cookie that only this host can set
	tokens  *tokenStore
	backend sessionBackend
	copies  *Copies
	most    int // of a person; 0: any number
}

// newSessions keeps sessions in backend. Tokens are hidden there under the
// first secret, and found under any.
func newSessions(backend sessionBackend, secrets []string, copies *Copies) *sessions {
	backend = endingSessions{backend, copies}
	tokens := &tokenStore{backend: backend}
	for _, secret := range secrets {
		tokens.secrets = append(tokens.secrets, []byte(secret))
	}
	// Not by scs.New: it starts a goroutine, for a store in memory, that never ends.
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
	return &sessions{scs: &plain, secure: &secure, host: &host, tokens: tokens, backend: backend, copies: copies}
}

// load returns who is signed in. Nobody is when the cookie is missing or garbage, which asks
// no store, or forged, stale or signed out. An error means that the sessions
// can't be reached.
func (s *sessions) load(ctx context.Context, r *http.Request) (user string, err error) {
	token, sole := tokenOf(r)
	if !sole {
		return s.loadOneOf(ctx, appendTokens(nil, r))
	}
	return s.loadToken(ctx, token)
}

// loadOneOf returns whose the tokens are that are somebody's. Of two people nobody knows which one asks, and which
// cookie a stranger has planted: errTwoPeople.
func (s *sessions) loadOneOf(ctx context.Context, tokens []string) (user string, err error) {
	for _, token := range tokens {
		another, err := s.loadToken(ctx, token)
		switch {
		case err != nil:
			return "", err
		case user != "" && another != "" && another != user:
			return "", errTwoPeople
		case another != "":
			user = another
		}
	}
	return user, nil
}

func (s *sessions) loadToken(ctx context.Context, token string) (user string, err error) {
	if token == "" {
		return "", nil
	}
	if user, ok := s.copies.session(token, time.Now()); ok {
		return user, nil
	}
	view := s.copies.cache.View(s.copies.cache.AnySession())
	key, found, err := s.tokens.find(ctx, token)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("load session: %w", err)
	}
	record := readRecord(found.Data)
	expires := time.UnixMilli(record.Expires)
	if record.UserID == "" || time.Until(expires) <= 0 { // a store whose clock is behind
		return "", nil
	}
	s.copies.keepSession(token, key, &sessionCopy{record.UserID, expires}, view)
	return record.UserID, nil
}

// arrival is who signs in, and how.
type arrival struct {
	userID   string
	epoch    int64  // the account's, when it was read to verify the password
	address  string // the client's, for the list of sessions
	remember bool   // for 30 days, else for 24 hours
	secure   bool   // the request came by TLS
}

// endedAtOnce bounds the sessions that one sign-in ends.
const endedAtOnce = 16

// makeRoom ends a person's oldest sessions, so that with one more there are not
// too many. Of sign-ins at the same time each leaves one, until the next.
func (s *sessions) makeRoom(ctx context.Context, userID string) error {
	if s.most == 0 {
		return nil
	}
	list, err := s.backend.Sessions(ctx, userID)
	if err != nil {
		return err
	}
	for range min(endedAtOnce, len(list)-s.most+1) {
		oldest := list[len(list)-1]
		list = list[:len(list)-1]
		if err := s.backend.DeleteSession(ctx, oldest.Key); err != nil {
			return err
		}
	}
	return nil
}

// signIn begins a session and sets its cookie. The token is new; one that the
// request brought is dead afterwards, whoever planted it.
func (s *sessions) signIn(ctx context.Context, w http.ResponseWriter, r *http.Request, a arrival) error {
	if err := s.makeRoom(ctx, a.userID); err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	return s.begin(ctx, w, r, a, s.backend.SaveSession)
}

// begin is signIn with another way to save the session. Only then the one that the request
// brought ends: who can't be let in stays who they were.
func (s *sessions) begin(ctx context.Context, w http.ResponseWriter, r *http.Request, a arrival,
	save func(context.Context, store.Session) error) error {
	ctx, err := s.scs.Load(ctx, "")
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	now := time.Now()
	if a.remember {
		s.scs.SetDeadline(ctx, now.Add(rememberedLife).UTC())
	}
	s.scs.Put(ctx, recordKey, sessionRecord{
		UserID:     a.userID,
		Epoch:      &a.epoch,
		Created:    now.UnixMilli(),
		Remembered: a.remember,
		UserAgent:  shortText(r.UserAgent(), maxUserAgent),
		Address:    a.address,
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
	s.writeCookie(ctx, w, token, expiry, a.secure)
	return nil
}

// endAll ends every session that the request brings, under either name.
func (s *sessions) endAll(ctx context.Context, r *http.Request) error {
	for _, token := range tokensOf(append(r.CookiesNamed(hostCookie), r.CookiesNamed(sessionCookie)...)) {
		if err := s.tokens.end(ctx, token); err != nil {
			return err
		}
	}
	return nil
}

// signOut ends all sessions that came, and clears the cookies. When the
// sessions can't be reached the cookie stays, so that the client can try again.
func (s *sessions) signOut(ctx context.Context, w http.ResponseWriter, r *http.Request, secure bool) error {
	if err := s.endAll(ctx, r); err != nil {
		return fmt.Errorf("sign out: %w", err)
	}
	s.writeCookie(ctx, w, "", time.Time{}, secure)
	return nil
}

// revoke ends all sessions of a person but the one with exceptToken, which may be empty.
func (s *sessions) revoke(ctx context.Context, userID, exceptToken string) error {
	except := ""
	if exceptToken != "" {
		key, _, err := s.tokens.find(ctx, exceptToken)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("revoke sessions: %w", err)
		}
		except = key
	}
	if err := s.backend.DeleteSessions(ctx, userID, except); err != nil {
		return fmt.Errorf("revoke sessions: %w", err)
	}
	return nil
}

// list returns the sessions of a person, the newest first.
func (s *sessions) list(ctx context.Context, userID string) ([]store.Session, error) {
	return s.backend.Sessions(ctx, userID)
}

// writeCookie sets the cookie, over TLS under both names; one without a token clears it.
func (s *sessions) writeCookie(ctx context.Context, w http.ResponseWriter, token string, expiry time.Time, secure bool) {
	manager := s.scs
	if secure {
		manager = s.secure
		defer s.host.WriteSessionCookie(ctx, w, token, expiry)
	}
	manager.WriteSessionCookie(ctx, w, token, expiry)
}

// tokenOf returns the first session cookie that can be one of ours, or "", and whether it is the only one.
func tokenOf(r *http.Request) (token string, sole bool) {
	var room [maxTokens]string
	tokens := appendTokens(room[:0], r)
	if len(tokens) == 0 {
		return "", true
	}
	return tokens[0], len(tokens) == 1
}

// appendTokens appends the session cookies that can be ours, each once. It reads what every request brings, so it makes no list of all cookies. Where one comes that nobody else can
// plant, those of its name alone count.
func appendTokens(tokens []string, r *http.Request) []string {
	name := sessionCookie
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			key, value, _ := strings.Cut(textproto.TrimString(pair), "=")
			if key = textproto.TrimString(key); key == hostCookie && name != hostCookie {
				name, tokens = hostCookie, tokens[:0]
			}
			if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' { // as net/http reads it
				value = value[1 : n-1]
			}
			if key == name && isToken(value) && len(tokens) < maxTokens && !slices.Contains(tokens, value) {
				tokens = append(tokens, value)
			}
		}
	}
	return tokens
}

// tokensOf returns what can be tokens of ours among cookies, each once.
func tokensOf(cookies []*http.Cookie) (tokens []string) {
	for _, c := range cookies {
		if isToken(c.Value) && !slices.Contains(tokens, c.Value) && len(tokens) < maxTokens {
			tokens = append(tokens, c.Value)
		}
	}
	return tokens
}

func isToken(s string) bool {
	return len(s) == sessionTokenBytes && strings.IndexFunc(s, notBase64URL) < 0
}

func notBase64URL(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// shortText is valid UTF-8 of at most limit bytes.
func shortText(s string, limit int) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}

// recordKey is where scs's values hold the sessionRecord.
const recordKey = "session"

// sessionRecord is what a session holds. It doesn't change as long as it lives.
type sessionRecord struct {
	UserID     string `json:"uid"`
	Epoch      *int64 `json:"epoch,omitempty"` // the account's when it began; nil: begun by a binary that knew none
	Created    int64  `json:"created"`         // Unix milliseconds, as is Expires
	Expires    int64  `json:"expires"`
	Remembered bool   `json:"remembered,omitempty"`
	UserAgent  string `json:"agent,omitempty"`
	Address    string `json:"address,omitempty"`
}

// readRecord makes nobody of data that isn't ours.
func readRecord(data []byte) sessionRecord {
	var record sessionRecord
	if json.Unmarshal(data, &record) != nil {
		return sessionRecord{}
	}
	return record
}

// isOf reports whether the session is of the account's epoch. One without an epoch is if it
// began later: the binary before this one, which may serve beside it, knows none.
func (r sessionRecord) isOf(epoch int64) bool {
	if r.Epoch == nil {
		return r.Created >= epoch
	}
	return *r.Epoch == epoch
}

// storedSession is what a backend keeps: data under key, and what data says.
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

// sessionCodec makes JSON of a sessionRecord for scs.
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

// tokenStore is what scs takes for its store. Behind it nobody sees a token,
// only its hash under a secret of ours, so a copy of the store opens no session.
type tokenStore struct {
	backend sessionBackend
	secrets [][]byte // the first hashes, all are tried
}

func sessionKey(secret []byte, token string) string { return keyedHash(secret, "session", token) }

// find returns the session of token and its key, whichever secret it was hashed under.
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

// savedBy is a backend in which save takes the place of SaveSession.
type savedBy struct {
	sessionBackend
	save func(context.Context, store.Session) error
}

func (s savedBy) SaveSession(ctx context.Context, session store.Session) error {
	return s.save(ctx, session)
}

// CommitCtx is called by scs.Commit, for new sessions only. When one expires
// stands in data too.
func (t *tokenStore) CommitCtx(ctx context.Context, token string, data []byte, _ time.Time) error {
	return t.backend.SaveSession(ctx, storedSession(sessionKey(t.secrets[0], token), data))
}

// The other methods that scs.CtxStore asks for: scs only makes tokens and cookies here, and neither finds nor deletes.
func (t *tokenStore) FindCtx(context.Context, string) ([]byte, bool, error) { return nil, false, nil }
func (t *tokenStore) DeleteCtx(context.Context, string) error               { return nil }
func (t *tokenStore) Find(string) ([]byte, bool, error)                     { return nil, false, nil }
func (t *tokenStore) Delete(string) error                                   { return nil }
func (t *tokenStore) Commit(token string, data []byte, expiry time.Time) error {
	return t.CommitCtx(context.Background(), token, data, expiry)
}
