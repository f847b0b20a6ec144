package check

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// inspectRedis examines the Redis at a URL.
func inspectRedis(ctx context.Context, url string) *Redis {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	r := &Redis{Encrypted: strings.HasPrefix(url, "rediss:")}
	if err := r.ask(ctx, url); err != nil {
		r.Err = oneLine(err)
	}
	return r
}

func (r *Redis) ask(ctx context.Context, url string) error {
	conn, err := redis.DialURLContext(ctx, url, redis.DialReadTimeout(askTime), redis.DialWriteTimeout(askTime),
		redis.DialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			var dialer net.Dialer
			c, err := dialer.DialContext(ctx, network, address)
			if err == nil {
				peer, _ := netip.ParseAddrPort(c.RemoteAddr().String())
				r.Peer = peer.Addr().Unmap()
			}
			return c, err
		}))
	if err != nil {
		return err
	}
	defer conn.Close()
	began := time.Now()
	there, err := redis.Int64s(redis.DoContext(conn, ctx, "TIME"))
	if err != nil {
		return err
	}
	if len(there) != 2 {
		return fmt.Errorf("TIME answers %d numbers, want 2", len(there))
	}
	r.Latency = time.Since(began)
	r.Skew = time.Unix(there[0], there[1]*1000).Sub(began.Add(r.Latency / 2))
	info, err := redis.String(redis.DoContext(conn, ctx, "INFO"))
	if err != nil {
		return err
	}
	r.readInfo(info)
	r.Snapshots = "?"
	if save, err := redis.StringMap(redis.DoContext(conn, ctx, "CONFIG", "GET", "save")); err == nil {
		r.Snapshots = save["save"]
	}
	return nil
}

// readInfo reads the output of INFO.
func (r *Redis) readInfo(info string) {
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "redis_version":
			r.Version = value
		case "maxmemory_policy":
			r.Policy = value
		case "used_memory":
			r.Memory, _ = strconv.ParseInt(value, 10, 64)
		case "maxmemory":
			r.Limit, _ = strconv.ParseInt(value, 10, 64)
		case "aof_enabled":
			r.AppendOnly = value == "1"
		}
	}
}
