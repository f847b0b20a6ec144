package auth

import (
	"context"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"notesd/internal/netutil"
	"notesd/internal/ratelimit"
	"notesd/internal/redis"
	"notesd/store"
)

// These are the failed sign-ins that one window allows. A window begins with its first failure.
const (
	signInWindow        = 15 * time.Minute
	signInsPerPair      = 5  // from one address to one account
	signInsPerAddress   = 50 // from one address to all accounts
	signInRefundTimeout = 2 * time.Second
)

// failureCounts counts failures by key in fixed windows, for all replicas together. *store.Store
// and redisFailures implement it. Each call adds and reads in one atomic step.
type failureCounts interface {
	AddSignInFailure(ctx context.Context, key string, window time.Duration) (count int, ends time.Time, err error)
	RefundSignInFailure(ctx context.Context, key string) error
}

// signInLimit limits failed sign-ins, to slow down password guessing. While its counts are
// unavailable, all sign-ins fail: otherwise that would be the time to guess passwords.
type signInLimit struct {
	counts failureCounts
	secret []byte // hides addresses and accounts in the keys
}

// newSignInLimit returns a limit that counts in Redis, or in db if rdb is nil.
func newSignInLimit(rdb *redis.Client, db *store.Store, secret string) *signInLimit {
	l := &signInLimit{counts: db, secret: []byte(secret)}
	if rdb != nil {
		l.counts = redisFailures{rdb}
	}
	return l
}

// reserve counts a failure before the password is checked, so parallel guesses are no more than
// sequential ones. The caller calls refund if the attempt turns out not to be a failure. If wait is
// above 0, the attempt is rejected and not counted.
func (l *signInLimit) reserve(ctx context.Context, address, account string) (
	refund func(context.Context), wait time.Duration, err error,
) {
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
		key := keyedHash(l.secret, "sign-in site", site)
		limits = append(limits, keyLimit{key, signInsPerAddress * ratelimit.NetworksPerSite})
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

// refund takes back the failures counted under keys, even after the client has left. A count that
// cannot be taken back now expires with its window.
func (l *signInLimit) refund(ctx context.Context, keys []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signInRefundTimeout)
	defer cancel()
	for _, key := range keys {
		_ = l.counts.RefundSignInFailure(ctx, key)
	}
}

// redisFailures keeps the counts in Redis. They expire there by themselves.
type redisFailures struct{ redis *redis.Client }

// addFailureScript adds one to a count. KEYS: the key. ARGV: the window in milliseconds. It returns
// the count and the remaining time of its window.
var addFailureScript = redigo.NewScript(1, `
local count = redis.call('INCR', KEYS[1])
if count == 1 then
	redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {count, redis.call('PTTL', KEYS[1])}`)

// refundFailureScript subtracts one from a count, unless the window has passed. It deletes the
// window with the last failure.
var refundFailureScript = redigo.NewScript(1, `
if tonumber(redis.call('GET', KEYS[1]) or 0) > 1 then
	return redis.call('DECR', KEYS[1])
end
return redis.call('DEL', KEYS[1])`)

func (f redisFailures) AddSignInFailure(ctx context.Context, key string, window time.Duration) (
	count int, ends time.Time, err error,
) {
	key = redis.Prefix + "sign-in:" + key
	answer, err := redigo.Int64s(f.redis.RunScript(ctx, addFailureScript, key, window.Milliseconds()))
	if err != nil {
		return 0, time.Time{}, err
	}
	return int(answer[0]), time.Now().Add(time.Duration(answer[1]) * time.Millisecond), nil
}

func (f redisFailures) RefundSignInFailure(ctx context.Context, key string) error {
	_, err := f.redis.RunScript(ctx, refundFailureScript, redis.Prefix+"sign-in:"+key)
	return err
}
