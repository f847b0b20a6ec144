package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// errRedisRefuses says that Redis answers and lets us do nothing. Waiting won't help.
var errRedisRefuses = errors.New("redis refuses access")

// redisRefusals are how the answers of such a Redis begin.
var redisRefusals = []string{
	"WRONGPASS", "NOAUTH", "NOPERM", // password, none given, rights
	"ERR AUTH", "ERR invalid password", // one given and none wanted; Redis before 6
	"ERR DB index", "ERR invalid DB index", // no such database
}

// Refusal returns an error if Redis answers, but refuses us for a reason that
// stays. A Redis that does not answer is no error: it may come.
func (r *Redis) Refusal(ctx context.Context) error {
	answer, ok := errors.AsType[redis.Error](r.Writable(ctx))
	if !ok {
		return nil
	}
	for _, refusal := range redisRefusals {
		if strings.HasPrefix(string(answer), refusal) {
			return fmt.Errorf("%w: %s", errRedisRefuses, string(answer))
		}
	}
	return nil
}
