package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// The keys of notesd begin with one of these. Writable writes under each of them, since Redis may
// allow some and deny others.
const (
	SessionPrefix     = "scs:session:" // and the session's key: the session
	UserSessionPrefix = "scs:user:"    // and a user's id: a sorted set of the user's sessions by expiry
	Prefix            = "notesd:"      // all other keys
)

const probeKey = "probe"

// probeScript uses the commands that our scripts use.
var probeScript = redigo.NewScript(1, `
redis.call('SET', KEYS[1], 0, 'PX', 1000)
redis.call('INCR', KEYS[1])
return redis.call('DEL', KEYS[1])`)

// Writable returns an error unless Redis saves a session and runs a script, neither of which leaves
// anything behind. A Redis that is full or read-only, has too few replicas or denies us access fails
// that, though it answers a PING.
func (c *Client) Writable(ctx context.Context) error {
	session, index := SessionPrefix+probeKey, UserSessionPrefix+probeKey
	now := time.Now()
	expires := now.Add(time.Second).UnixMilli()
	err := c.Transaction(ctx,
		NewCommand("SET", session, "", "PXAT", expires),
		NewCommand("ZADD", index, expires, probeKey),
		NewCommand("ZREMRANGEBYSCORE", index, "-inf", now.UnixMilli()),
		NewCommand("PEXPIREAT", index, expires),
		NewCommand("DEL", session, index))
	if err != nil {
		return err
	}
	_, err = c.RunScript(ctx, probeScript, Prefix+probeKey)
	return err
}

// errDenied means that Redis answers and lets us do nothing. To wait would not help.
var errDenied = errors.New("redis refuses access")

// denials are how the replies of such a Redis begin.
var denials = []string{
	"WRONGPASS", "NOAUTH", "NOPERM", // the password is wrong or missing; no rights
	"ERR AUTH", "ERR invalid password", // a password was sent and none is wanted; Redis before 6
	"ERR DB index", "ERR invalid DB index", // no such database
}

// Refusal returns an error if Redis answers, but refuses us for a reason that stays. A Redis that
// does not answer is no error, since it may come.
func (c *Client) Refusal(ctx context.Context) error {
	reply, ok := errors.AsType[redigo.Error](c.Writable(ctx))
	if !ok {
		return nil
	}
	for _, denial := range denials {
		if strings.HasPrefix(string(reply), denial) {
			return fmt.Errorf("%w: %s", errDenied, string(reply))
		}
	}
	return nil
}
