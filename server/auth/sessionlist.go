package auth

import (
	"context"
	"net/http"
	"time"

	"notesd/store"
)

// A ListedSession is a session as its user sees it.
type ListedSession struct {
	ID      string // reveals nothing of the token, nor of where the session is stored
	Device  string // the program that signed in, such as "Firefox on Linux"; empty: it did not say
	Address string // from which the user signed in
	// FirstSeen and LastSeen are to the hour.
	FirstSeen, LastSeen time.Time
	Current             bool // it is the session of the request
}

// ListSessions returns the sessions of r's user, the newest first.
func (a *Accounts) ListSessions(ctx context.Context, r *http.Request, userID string) ([]ListedSession, error) {
	current, err := a.currentKey(ctx, r)
	if err != nil {
		return nil, err
	}
	sessions, err := a.Sessions.List(ctx, userID)
	if err != nil {
		return nil, err
	}
	list := make([]ListedSession, len(sessions))
	for i, s := range sessions {
		seen := s.LastSeenAt
		if seen.Before(s.CreatedAt) {
			seen = s.CreatedAt
		}
		list[i] = ListedSession{ID: a.Sessions.listedID(s.Key), Device: programName(s.UserAgent), Address: s.Address,
			FirstSeen: s.CreatedAt.Truncate(time.Hour), LastSeen: seen.Truncate(time.Hour), Current: s.Key == current}
	}
	return list, nil
}

// EndSession ends the user's session that ListSessions shows with the id. It returns
// store.ErrNotFound if there is none. If it is the session of the client's request, it clears the
// client's cookie as well.
func (a *Accounts) EndSession(ctx context.Context, w http.ResponseWriter, c Client, userID, id string) error {
	current, err := a.currentKey(ctx, c.Request)
	if err != nil {
		return err
	}
	sessions, err := a.Sessions.List(ctx, userID)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if a.Sessions.listedID(s.Key) != id {
			continue
		}
		if err := a.Sessions.backend.DeleteSession(ctx, s.Key); err != nil {
			return err
		}
		if s.Key == current {
			a.Sessions.writeCookie(ctx, w, "", time.Time{}, c.Secure)
		}
		a.Record(ctx, c, userID, store.EventSessionEnded)
		return nil
	}
	return store.ErrNotFound
}

// EndOtherSessions ends all sessions of the user but that of the client's request.
func (a *Accounts) EndOtherSessions(ctx context.Context, c Client, userID string) error {
	current, err := a.currentKey(ctx, c.Request)
	if err == nil {
		err = a.Sessions.Revoke(ctx, userID, current)
	}
	if err == nil {
		a.Record(ctx, c, userID, store.EventOtherSessionsEnded)
	}
	return err
}

// currentKey returns the key of the session of r, or "".
func (a *Accounts) currentKey(ctx context.Context, r *http.Request) (string, error) {
	session, err := a.Sessions.Find(ctx, r)
	if session == nil {
		return "", err
	}
	return session.Key, nil
}

// listedID returns the id that stands for the session with the key in a list.
func (s *Sessions) listedID(key string) string {
	return keyedHash(s.tokens.secrets[0], "session id", key)[:32]
}
