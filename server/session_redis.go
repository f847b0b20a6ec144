package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/alexedwards/scs/redisstore"
	redigo "github.com/gomodule/redigo/redis"

	"notesd/internal/redis"
	"notesd/store"
)

// redisSessions keeps sessions in Redis, as redisstore does, and beside them
// an index by person, so that listing and revoking never walk all keys. Every
// session stands in its index as long as it lives: both are written and deleted
// in one transaction. Whether a session has ended with all of its account's, the
// database says: a command that knows no Redis can end them.
type redisSessions struct {
	redis    *redis.Client
	kept     *redisstore.RedisStore
	accounts accountEpochs
}

// accountEpochs is *store.Store.
type accountEpochs interface {
	SessionEpoch(ctx context.Context, userID string) (int64, error)
}

func newRedisSessions(rdb *redis.Client, accounts accountEpochs) *redisSessions {
	return &redisSessions{redis: rdb, kept: redisstore.NewWithPrefix(rdb.Pool(), redis.SessionPrefix), accounts: accounts}
}

// FindSession is one GET, and a look at its account. A process asks for a session once a minute.
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
		return store.Session{Key: key, Data: data}, nil // none of ours: it lets nobody in
	}
	epoch, err := s.accounts.SessionEpoch(ctx, record.UserID)
	if err == nil && !record.isOf(epoch) {
		err = store.ErrNotFound
	}
	return store.Session{Key: key, Data: data}, err
}

// get returns a session of whatever epoch.
func (s *redisSessions) get(ctx context.Context, key string) (data []byte, found bool, err error) {
	err = s.redis.Run(ctx, func() (err error) {
		data, found, err = s.kept.Find(key)
		return err
	})
	return data, found, err
}

// SaveSession also drops what has expired from the index, which itself
// expires after the last session in it can have. Of sessions that are ended
// between the look at the account and the transaction FindSession finds none.
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

// put saves a session whose account need not be there yet.
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
		redis.NewCommand("DEL", redis.SessionPrefix+key),
		redis.NewCommand("ZREM", redis.UserSessionPrefix+readRecord(data).UserID, key),
	)
}

// revokeScript deletes a person's sessions in one step: one that begins at the
// same time is either gone or in the index. KEYS: the index. ARGV: the prefix of
// sessions, the key to spare.
var revokeScript = redigo.NewScript(1, `
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
	if key ~= ARGV[2] then
		redis.call('DEL', ARGV[1] .. key)
		redis.call('ZREM', KEYS[1], key)
	end
end
return 0`)

func (s *redisSessions) DeleteSessions(ctx context.Context, userID, exceptKey string) error {
	_, err := s.redis.RunScript(ctx, revokeScript, redis.UserSessionPrefix+userID, redis.SessionPrefix, exceptKey)
	return err
}

// Sessions returns the newest first.
func (s *redisSessions) Sessions(ctx context.Context, userID string) ([]store.Session, error) {
	keys, err := redigo.Strings(s.redis.Do(ctx, "ZRANGE", redis.UserSessionPrefix+userID, time.Now().UnixMilli(), "+inf", "BYSCORE"))
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	names := make([]any, len(keys))
	for i, key := range keys {
		names[i] = redis.SessionPrefix + key
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
	for i, data := range values {
		if data != nil && readRecord(data).isOf(epoch) { // else signed out since
			sessions = append(sessions, storedSession(keys[i], data))
		}
	}
	slices.SortFunc(sessions, func(a, b store.Session) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return sessions, nil
}
