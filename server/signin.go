package server

import (
	"context"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"notesd/internal/netutil"
	"notesd/internal/ratelimit"
	"notesd/internal/redis"
	"notesd/store"
)

// Failed sign-ins that are let pass in one window, which begins with its first.
const (
	signInWindow        = 15 * time.Minute
	signInsPerPair      = 5  // from one address to one account
	signInsPerAddress   = 50 // from one address to all accounts
	signInRefundTimeout = 2 * time.Second
)

// failureCounts counts failures by key in fixed windows, for all replicas at
// once: *store.Store and redisFailures. Adding and reading are one atomic step.
type failureCounts interface {
	AddSignInFailure(ctx context.Context, key string, window time.Duration) (count int, ends time.Time, err error)
	RefundSignInFailure(ctx context.Context, key string) error
}

// signInLimit slows down who tries passwords. When its counts can't be
// reached nobody signs in: it would be the moment to try them.
type signInLimit struct {
	counts failureCounts
	secret []byte // hides addresses and accounts in the keys
}

// newSignInLimit counts in Redis, or in db when rdb is nil.
func newSignInLimit(rdb *redis.Client, db *store.Store, secret string) *signInLimit {
	l := &signInLimit{counts: db, secret: []byte(secret)}
	if rdb != nil {
		l.counts = redisFailures{rdb}
	}
	return l
}

// reserve counts a failure before the password is looked at, so that guesses
// in parallel are no more than guesses in turn. Whatever turns out not to be a
// failure calls refund. A wait above 0 refuses the attempt, and counts nothing.
func (l *signInLimit) reserve(ctx context.Context, address, account string) (refund func(context.Context), wait time.Duration, err error) {
	network, site := netutil.Networks(address)
	type keyLimit struct {
		key   string
		limit int
	}
	limits := []keyLimit{
		{keyedHash(l.secret, "sign-in pair", network+" "+account), signInsPerPair},
		{keyedHash(l.secret, "sign-in address", network), signInsPerAddress},
	}
	if site != "" {
		limits = append(limits, keyLimit{keyedHash(l.secret, "sign-in site", site), signInsPerAddress * ratelimit.NetworksPerSite})
	}
	var taken []string
	refund = func(ctx context.Context) { l.refund(ctx, taken) }
	for _, c := range limits {
		count, ends, err := l.counts.AddSignInFailure(ctx, c.key, signInWindow)
		if err != nil {
			refund(ctx)
			return nil, 0, err
		}
		taken = append(taken, c.key)
		if count > c.limit {
			refund(ctx)
			return nil, max(time.Until(ends), time.Second), nil
		}
	}
	return refund, 0, nil
}

// refund goes on when the client has left. What can't be given back now is
// forgotten with its window.
func (l *signInLimit) refund(ctx context.Context, keys []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signInRefundTimeout)
	defer cancel()
	for _, key := range keys {
		_ = l.counts.RefundSignInFailure(ctx, key)
	}
}

// redisFailures keeps the counts in Redis, which forgets them by itself.
type redisFailures struct{ redis *redis.Client }

// addFailureScript counts one up. KEYS: the key. ARGV: the window in
// milliseconds. It answers the count and how long its window lasts yet.
var addFailureScript = redigo.NewScript(1, `
local count = redis.call('INCR', KEYS[1])
if count == 1 then
	redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {count, redis.call('PTTL', KEYS[1])}`)

// refundFailureScript counts one down, unless the window has passed; with the
// last failure the window goes too.
var refundFailureScript = redigo.NewScript(1, `
if tonumber(redis.call('GET', KEYS[1]) or 0) > 1 then
	return redis.call('DECR', KEYS[1])
end
return redis.call('DEL', KEYS[1])`)

func (f redisFailures) AddSignInFailure(ctx context.Context, key string, window time.Duration) (count int, ends time.Time, err error) {
	answer, err := redigo.Int64s(f.redis.RunScript(ctx, addFailureScript, redis.Prefix+"sign-in:"+key, window.Milliseconds()))
	if err != nil {
		return 0, time.Time{}, err
	}
	return int(answer[0]), time.Now().Add(time.Duration(answer[1]) * time.Millisecond), nil
}

func (f redisFailures) RefundSignInFailure(ctx context.Context, key string) error {
	_, err := f.redis.RunScript(ctx, refundFailureScript, redis.Prefix+"sign-in:"+key)
	return err
}
