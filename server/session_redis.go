package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/alexedwards/scs/redisstore"
	"github.com/gomodule/redigo/redis"

	"notesd/store"
)

const (
	redisSessionPrefix = "scs:session:" // and the key: the session
	redisUserPrefix    = "scs:user:"    // and the id: a sorted set of the person's keys by expiry
)

// redisSessions keeps sessions in Redis, as redisstore does, and beside them
// an index by person, so that listing and revoking never walk all keys. Every
// session stands in its index as long as it lives: both are written and deleted
// in one transaction.
type redisSessions struct {
	redis *Redis
	kept  *redisstore.RedisStore
}

func newRedisSessions(r *Redis) *redisSessions {
	return &redisSessions{redis: r, kept: redisstore.NewWithPrefix(r.pool, redisSessionPrefix)}
}

// FindSession is one GET.
func (s *redisSessions) FindSession(ctx context.Context, key string) (store.Session, error) {
	var data []byte
	var found bool
	err := s.redis.do(ctx, func() (err error) {
		data, found, err = s.kept.Find(key)
		return err
	})
	if err != nil {
		return store.Session{}, err
	}
	if !found {
		return store.Session{}, store.ErrNotFound
	}
	return store.Session{Key: key, Data: data}, nil
}

// SaveSession also drops what has expired from the index, which itself
// expires after the last session in it can have.
func (s *redisSessions) SaveSession(ctx context.Context, session store.Session) error {
	index, expires, now := redisUserPrefix+session.UserID, session.ExpiresAt.UnixMilli(), time.Now()
	return s.redis.atomically(ctx,
		redisCommand{"SET", []any{redisSessionPrefix + session.Key, session.Data, "PXAT", expires}},
		redisCommand{"ZADD", []any{index, expires, session.Key}},
		redisCommand{"ZREMRANGEBYSCORE", []any{index, "-inf", now.UnixMilli()}},
		redisCommand{"PEXPIREAT", []any{index, now.Add(rememberedLife + time.Minute).UnixMilli()}},
	)
}

func (s *redisSessions) DeleteSession(ctx context.Context, key string) error {
	session, err := s.FindSession(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.redis.atomically(ctx,
		redisCommand{"DEL", []any{redisSessionPrefix + key}},
		redisCommand{"ZREM", []any{redisUserPrefix + readRecord(session.Data).UserID, key}},
	)
}

// revokeScript deletes a person's sessions in one step: one that begins at the
// same time is either gone or in the index. KEYS: the index. ARGV: the prefix of
// sessions, the key to spare.
var revokeScript = redis.NewScript(1, `
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
	if key ~= ARGV[2] then
		redis.call('DEL', ARGV[1] .. key)
		redis.call('ZREM', KEYS[1], key)
	end
end
return 0`)

func (s *redisSessions) DeleteSessions(ctx context.Context, userID, exceptKey string) error {
	_, err := s.redis.script(ctx, revokeScript, redisUserPrefix+userID, redisSessionPrefix, exceptKey)
	return err
}

// Sessions returns the newest first.
func (s *redisSessions) Sessions(ctx context.Context, userID string) ([]store.Session, error) {
	keys, err := redis.Strings(s.redis.command(ctx, "ZRANGE", redisUserPrefix+userID, time.Now().UnixMilli(), "+inf", "BYSCORE"))
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	names := make([]any, len(keys))
	for i, key := range keys {
		names[i] = redisSessionPrefix + key
	}
	values, err := redis.ByteSlices(s.redis.command(ctx, "MGET", names...))
	if err != nil {
		return nil, err
	}
	var sessions []store.Session
	for i, data := range values {
		if data != nil { // signed out since
			sessions = append(sessions, storedSession(keys[i], data))
		}
	}
	slices.SortFunc(sessions, func(a, b store.Session) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return sessions, nil
}
