package server

import (
	"context"
	"errors"
	"fmt"
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
// in one transaction. Whether a session has ended with all of its account's, the
// database says: a command that knows no Redis can end them.
type redisSessions struct {
	redis    *Redis
	kept     *redisstore.RedisStore
	accounts accountEpochs
}

// accountEpochs is *store.Store.
type accountEpochs interface {
	SessionEpoch(ctx context.Context, userID string) (int64, error)
}

func newRedisSessions(r *Redis, accounts accountEpochs) *redisSessions {
	return &redisSessions{redis: r, kept: redisstore.NewWithPrefix(r.pool, redisSessionPrefix), accounts: accounts}
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
	err = s.redis.do(ctx, func() (err error) {
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
	return s.redis.atomically(ctx, saving(session)...)
}

func saving(session store.Session) []redisCommand {
	index, expires, now := redisUserPrefix+session.UserID, session.ExpiresAt.UnixMilli(), time.Now()
	return []redisCommand{
		{"SET", []any{redisSessionPrefix + session.Key, session.Data, "PXAT", expires}},
		{"ZADD", []any{index, expires, session.Key}},
		{"ZREMRANGEBYSCORE", []any{index, "-inf", now.UnixMilli()}},
		{"PEXPIREAT", []any{index, now.Add(rememberedLife + time.Minute).UnixMilli()}},
	}
}

// probeScript does what our scripts do.
var probeScript = redis.NewScript(1, `
redis.call('SET', KEYS[1], 0, 'PX', 1000)
redis.call('INCR', KEYS[1])
return redis.call('DEL', KEYS[1])`)

// Writable has Redis save a session and run a script, both of which leave nothing behind. A Redis that is full or
// read-only, has too few replicas or does not let us refuses that, though it answers a PING.
func (r *Redis) Writable(ctx context.Context) error {
	const probe = "probe"
	err := r.atomically(ctx, append(saving(store.Session{Key: probe, UserID: probe, ExpiresAt: time.Now().Add(time.Second)}),
		redisCommand{"DEL", []any{redisSessionPrefix + probe, redisUserPrefix + probe}})...)
	if err != nil {
		return err
	}
	_, err = r.script(ctx, probeScript, "notesd:"+probe)
	return err
}

func (s *redisSessions) DeleteSession(ctx context.Context, key string) error {
	data, found, err := s.get(ctx, key)
	if err != nil || !found {
		return err
	}
	return s.redis.atomically(ctx,
		redisCommand{"DEL", []any{redisSessionPrefix + key}},
		redisCommand{"ZREM", []any{redisUserPrefix + readRecord(data).UserID, key}},
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
