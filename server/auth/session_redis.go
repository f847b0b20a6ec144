package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/alexedwards/scs/redisstore"
	redigo "github.com/gomodule/redigo/redis"

	"notesd/internal/redis"
	"notesd/store"
)

// redisSessions stores sessions in Redis, as redisstore does. It also stores an index of sessions
// by user, so that listing and revoking never scan all keys. A session is in the index of its user
// as long as it lives, because both are written and deleted in one transaction. The database, and
// not Redis, says whether all sessions of an account were ended: a command that has no access to
// Redis can end them.
type redisSessions struct {
	redis    *redis.Client
	kept     *redisstore.RedisStore
	accounts accountEpochs
}

// accountEpochs returns the session epoch of an account. *store.Store implements it.
type accountEpochs interface {
	SessionEpoch(ctx context.Context, userID string) (int64, error)
}

func newRedisSessions(rdb *redis.Client, accounts accountEpochs) *redisSessions {
	return &redisSessions{redis: rdb, kept: redisstore.NewWithPrefix(rdb.Pool(), redis.SessionPrefix),
		accounts: accounts}
}

// FindSession makes one GET and reads the account's epoch. A process asks for one session once a
// minute.
func (s *redisSessions) FindSession(ctx context.Context, key string) (store.Session, error) {
	data, found, err := s.get(ctx, key)
	if err != nil {
		return store.Session{}, err
	}
	if !found {
		return store.Session{}, store.ErrNotFound
	}
	record := readRecord(data)
	if record.UserID == "" {
		// The record is not in our format, so it signs no user in.
		return store.Session{Key: key, Data: data}, nil
	}
	epoch, err := s.accounts.SessionEpoch(ctx, record.UserID)
	if err == nil && !record.isOf(epoch) {
		err = store.ErrNotFound
	}
	return store.Session{Key: key, Data: data}, err
}

// get returns a session of any epoch.
func (s *redisSessions) get(ctx context.Context, key string) (data []byte, found bool, err error) {
	err = s.redis.Run(ctx, func() (err error) {
		data, found, err = s.kept.Find(key)
		return err
	})
	return data, found, err
}

// SaveSession also removes expired sessions from the index. The index itself expires later than the
// last session in it can. A session that is ended between the epoch check and the transaction is
// not found by FindSession.
func (s *redisSessions) SaveSession(ctx context.Context, session store.Session) error {
	epoch, err := s.accounts.SessionEpoch(ctx, session.UserID)
	if errors.Is(err, store.ErrNotFound) || err == nil && epoch != session.Epoch {
		return fmt.Errorf("save session: %w", store.ErrEpoch)
	}
	if err != nil {
		return err
	}
	return s.put(ctx, session)
}

// put saves a session. Its account need not exist yet.
func (s *redisSessions) put(ctx context.Context, session store.Session) error {
	return s.redis.Transaction(ctx, saving(session)...)
}

// saving returns the commands that save a session. redis.Client.Writable tries the same commands.
func saving(session store.Session) []redis.Command {
	index, expires, now := redis.UserSessionPrefix+session.UserID, session.ExpiresAt.UnixMilli(), time.Now()
	return []redis.Command{
		redis.NewCommand("SET", redis.SessionPrefix+session.Key, session.Data, "PXAT", expires),
		redis.NewCommand("ZADD", index, expires, session.Key),
		redis.NewCommand("ZREMRANGEBYSCORE", index, "-inf", now.UnixMilli()),
		redis.NewCommand("PEXPIREAT", index, now.Add(rememberedLife+time.Minute).UnixMilli()),
	}
}

func (s *redisSessions) DeleteSession(ctx context.Context, key string) error {
	data, found, err := s.get(ctx, key)
	if err != nil || !found {
		return err
	}
	return s.redis.Transaction(ctx,
		redis.NewCommand("DEL", redis.SessionPrefix+key, seenPrefix+key),
		redis.NewCommand("ZREM", redis.UserSessionPrefix+readRecord(data).UserID, key),
	)
}

// revokeScript deletes a user's sessions in one step. So a session that begins at the same time is
// either deleted or in the index. KEYS: the index. ARGV: the key prefix of sessions, the key of the
// session to keep, and the key prefix of their last use.
var revokeScript = redigo.NewScript(1, `
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
	if key ~= ARGV[2] then
		redis.call('DEL', ARGV[1] .. key, ARGV[3] .. key)
		redis.call('ZREM', KEYS[1], key)
	end
end
return 0`)

func (s *redisSessions) DeleteSessions(ctx context.Context, userID, exceptKey string) error {
	_, err := s.redis.RunScript(ctx, revokeScript, redis.UserSessionPrefix+userID, redis.SessionPrefix, exceptKey,
		seenPrefix)
	return err
}

// seenPrefix is followed by a session's key. The value is the hour in which the session was last
// used, in Unix milliseconds. It is a key of its own, so that no session is ever rewritten.
const seenPrefix = redis.Prefix + "seen:"

// SeeSessions implements sessionBackend. A use that is written after the end of its session expires
// when the session would have.
func (s *redisSessions) SeeSessions(ctx context.Context, used []store.Use, hour time.Time) error {
	commands := make([]redis.Command, len(used))
	for i, use := range used {
		commands[i] = redis.NewCommand("SET", seenPrefix+use.Key, hour.UnixMilli(), "PXAT", use.Expires.UnixMilli())
	}
	return s.redis.Transaction(ctx, commands...)
}

// Sessions returns the user's sessions, the newest first.
func (s *redisSessions) Sessions(ctx context.Context, userID string) ([]store.Session, error) {
	index, now := redis.UserSessionPrefix+userID, time.Now().UnixMilli()
	keys, err := redigo.Strings(s.redis.Do(ctx, "ZRANGE", index, now, "+inf", "BYSCORE"))
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	names := make([]any, 2*len(keys)) // the sessions, and then their last uses
	for i, key := range keys {
		names[i], names[len(keys)+i] = redis.SessionPrefix+key, seenPrefix+key
	}
	values, err := redigo.ByteSlices(s.redis.Do(ctx, "MGET", names...))
	if err != nil {
		return nil, err
	}
	epoch, err := s.accounts.SessionEpoch(ctx, userID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var sessions []store.Session
	for i, key := range keys {
		// Otherwise the session was signed out since.
		if data := values[i]; data != nil && readRecord(data).isOf(epoch) {
			session := storedSession(key, data)
			if seen, err := strconv.ParseInt(string(values[len(keys)+i]), 10, 64); err == nil {
				session.LastSeenAt = time.UnixMilli(seen).UTC()
			}
			sessions = append(sessions, session)
		}
	}
	slices.SortFunc(sessions, func(a, b store.Session) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return sessions, nil
}
