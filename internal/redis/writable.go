package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// The keys of notesd begin with one of these prefixes. Writable writes under each of them, since
// Redis may allow some and deny others.
const (
	SessionPrefix = "scs:session:" // followed by a session's key; the value is the session
	// UserSessionPrefix is followed by a user's id. The value is a sorted set of the user's
	// sessions by expiry.
	UserSessionPrefix = "scs:user:"
	Prefix            = "notesd:" // all other keys
)

const probeKey = "probe"

// probeScript uses the commands that our scripts use.
var probeScript = redigo.NewScript(1, `
redis.call('SET', KEYS[1], 0, 'PX', 1000)
redis.call('INCR', KEYS[1])
return redis.call('DEL', KEYS[1])`)

// Writable returns an error unless Redis saves a session and runs a script. Neither of them leaves
// anything behind. A Redis that is full or read-only, has too few replicas or denies us access
// fails this check, although it answers a PING.
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

// errDenied means that Redis answers but denies all access. Waiting would not help.
var errDenied = errors.New("redis refuses access")

// denials are the beginnings of the replies of such a Redis.
var denials = []string{
	"WRONGPASS", "NOAUTH", "NOPERM", // the password is wrong or missing; the user has no rights
	// A password was sent and none is wanted; or, with Redis before 6, the password is wrong.
	"ERR AUTH", "ERR invalid password",
	"ERR DB index", "ERR invalid DB index", // the database does not exist
}

// Denied returns an error if Redis answers, but denies access for a permanent reason. A Redis that
// does not answer is no error, since it may become available.
func (c *Client) Denied(ctx context.Context) error {
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
