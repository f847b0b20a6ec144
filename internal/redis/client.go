package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"notesd/internal/netutil"
)

// These three bound an operation: a second in all, as a rule far less, since
// connections are seldom all in use while one has to be made.
const (
	MaxConns       = 64
	AcquireTimeout = 250 * time.Millisecond // for a connection, when all are in use
	redisDial      = 500 * time.Millisecond // to connect and sign in
	redisReply     = 750 * time.Millisecond // for the answer to a command
	sentinelReply  = 150 * time.Millisecond // to connect to a Sentinel, and for its answer
	sentinelEvery  = 250 * time.Millisecond // between questions to each Sentinel
	sentinelFresh  = 2 * time.Second        // how long an answer of a Sentinel counts

	RetryAfter = 250 * time.Millisecond // how long a lost Redis is left alone
	redisIdle  = time.Minute            // a connection idle for longer may be dead: it is not used again
	redisAge   = 30 * time.Minute       // nor is one older than this, so that replicas come to share a new server
)

// ErrUnavailable means that Redis could not be reached, did not answer in time, or refused.
var ErrUnavailable = errors.New("database unavailable")

var (
	errRedisAway = errors.New("no connection")
	errRedisBusy = errors.New("all connections are in use")
	errRedisLost = errors.New("lost a moment ago")
	errNoMaster  = errors.New("the Sentinels' master is none")
	errOldMaster = errors.New("the Sentinels name another master by now")
)

// A Client is a bounded set of connections to one Redis server, made when they
// are needed. It promises that an operation is sent once and as a rule ends
// within a second, that what Redis could not do, or perhaps did without our
// hearing of it, is an error that wraps ErrUnavailable, and that after a
// loss it is asked by one caller at a time until it answers again; the others are
// refused at once.
type Client struct {
	pool *redigo.Pool
	// slots has room for one token a connection. Whoever put one in finds the
	// pool not full, so that even Pool.Get, which redisstore calls without a
	// context, can't block.
	slots chan struct{}

	began    time.Time
	resting  atomic.Int64 // since began, when Redis may be asked again; 0: it answers
	lost     atomic.Int64 // since began, when a connection last broke: those idle since before are not trusted
	failures atomic.Uint64

	sentinels *sentinels // nil: there are none

	runID   atomic.Pointer[string] // of the server that was connected to last
	renewed func()                 // called when it is another, or was started anew: it may know less; nil: nobody asks
}

// Open takes a URL as in redis://user:password@host:6379/0, rediss:// for
// TLS. With Sentinels, as host:port, its host is the name of a master, which they
// are asked for whenever a connection is made. It connects to nothing yet. Its errors don't show the URL: it may hold a
// password.
func Open(rawURL string, sentinels ...string) (*Client, error) {
	if err := checkURL(rawURL); err != nil {
		return nil, fmt.Errorf("redis URL: %w", err)
	}
	r := &Client{slots: make(chan struct{}, MaxConns), began: time.Now()}
	if len(sentinels) > 0 {
		u, _ := url.Parse(rawURL) // checked above
		r.sentinels = newSentinels(u.Hostname(), sentinels)
	}
	r.pool = &redigo.Pool{
		MaxActive:       MaxConns,
		MaxIdle:         MaxConns, // fewer would mean dialling again under load
		IdleTimeout:     redisIdle,
		MaxConnLifetime: redisAge,
		TestOnBorrow:    r.trusted,
		DialContext:     func(ctx context.Context) (redigo.Conn, error) { return r.dial(ctx, rawURL) },
	}
	return r, nil
}

func checkURL(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return errors.New("not a URL")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" {
		return errors.New("the scheme must be redis or rediss")
	}
	if u.Host == "" {
		return errors.New("no host")
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if _, err := strconv.ParseUint(db, 10, 16); err != nil {
			return errors.New("the path must be the number of a database")
		}
	}
	return nil
}

// conn is a connection whose network connection can be looked at.
type conn struct {
	redigo.Conn
	network net.Conn
	address string // that the Sentinels named
}

// dial makes a connection, and notices when it leads to another server than those before.
func (r *Client) dial(ctx context.Context, rawURL string) (redigo.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, redisDial)
	defer cancel()
	conn, err := r.connect(ctx, rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRedisAway, err)
	}
	info, err := redigo.String(redigo.DoContext(conn.Conn, ctx, "INFO"))
	if r.sentinels != nil && err == nil && infoField(info, "role") != "master" {
		err = errNoMaster
	}
	if err == nil && !r.current(conn) {
		err = errOldMaster
	}
	if lost(err) {
		return nil, errors.Join(fmt.Errorf("%w: %w", errRedisAway, err), conn.Close())
	}
	if id := infoField(info, "run_id"); id != "" { // else we may not ask
		if before := r.runID.Swap(&id); before != nil && *before != id && r.renewed != nil {
			r.renewed()
		}
	}
	return conn, nil
}

// infoField is a field of what INFO answers.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (r *Client) connect(ctx context.Context, rawURL string) (c conn, err error) {
	c.Conn, err = redigo.DialURLContext(ctx, rawURL,
		redigo.DialContextFunc(func(ctx context.Context, kind, address string) (net.Conn, error) {
			if r.sentinels != nil {
				if address, err = r.sentinels.master(ctx); err != nil {
					return nil, err
				}
				c.address = address
			}
			var dialer net.Dialer
			c.network, err = dialer.DialContext(ctx, kind, address)
			return c.network, err
		}),
		redigo.DialTLSHandshakeTimeout(redisDial),
		redigo.DialReadTimeout(redisReply), // redigo has none by default
		redigo.DialWriteTimeout(redisReply))
	return c, err
}

// OnNewServer has f called when a connection leads to another server than the one before, or to one
// that was started anew: it may lack keys. It must be called before the Client is shared.
func (r *Client) OnNewServer(f func()) { r.renewed = f }

// Close closes the connections as they fall idle.
func (r *Client) Close() error {
	return r.pool.Close()
}

// Stats is what the connections did and do.
type Stats struct {
	Open     int    `json:"open"`
	Idle     int    `json:"idle"`
	InUse    int    `json:"inUse"`
	Failures uint64 `json:"failures"` // operations that Redis could not be reached for, or didn't answer in time
}

// Stats returns the figures of the moment.
func (r *Client) Stats() Stats {
	s := r.pool.Stats()
	return Stats{Open: s.ActiveCount, Idle: s.IdleCount, InUse: len(r.slots), Failures: r.failures.Load()}
}

// Do runs one command.
func (r *Client) Do(ctx context.Context, name string, args ...any) (reply any, err error) {
	err = r.Run(ctx, func() error {
		conn := r.pool.Get()
		defer conn.Close()
		reply, err = conn.Do(name, args...)
		return err
	})
	return reply, err
}

// RunScript runs a script, by its hash once Redis knows it: one round trip.
func (r *Client) RunScript(ctx context.Context, script *redigo.Script, keysAndArgs ...any) (reply any, err error) {
	err = r.Run(ctx, func() error {
		conn := r.pool.Get()
		defer conn.Close()
		reply, err = script.Do(conn, keysAndArgs...)
		return err
	})
	return reply, err
}

// A Command is a command to be run with others.
type Command struct {
	name string
	args []any
}

// NewCommand returns the command name with its arguments.
func NewCommand(name string, args ...any) Command { return Command{name, args} }

// Transaction runs commands in one transaction: one round trip.
func (r *Client) Transaction(ctx context.Context, commands ...Command) error {
	return r.Run(ctx, func() error {
		conn := r.pool.Get()
		defer conn.Close()
		if err := conn.Send("MULTI"); err != nil {
			return err
		}
		for _, c := range commands {
			if err := conn.Send(c.name, c.args...); err != nil {
				return err
			}
		}
		return firstRefusal(redigo.Values(conn.Do("EXEC")))
	})
}

// firstRefusal returns err, or else the first error among the replies of a transaction.
func firstRefusal(replies []any, err error) error {
	for _, reply := range replies {
		if refusal, ok := reply.(redigo.Error); ok {
			return refusal
		}
	}
	return err
}

// Pool returns the pool of connections, for libraries that take one. It may be used inside Run only.
func (r *Client) Pool() *redigo.Pool { return r.pool }

// Run runs fn, which may take one connection from the pool, waits for its
// answer and closes it.
func (r *Client) Run(ctx context.Context, fn func() error) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer func() { <-r.slots }()
	return r.judge(fn())
}

// enter waits for a connection to be free, unless Redis is lost.
func (r *Client) enter(ctx context.Context) error {
	if !r.mayAsk() {
		return unavailableRedis(errRedisLost)
	}
	select {
	case r.slots <- struct{}{}:
		return nil
	default:
	}
	patience := time.NewTimer(AcquireTimeout)
	defer patience.Stop()
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-patience.C:
		return unavailableRedis(errRedisBusy)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mayAsk reports whether Redis answers as far as is known, or this caller is
// the one to find out.
func (r *Client) mayAsk() bool {
	until := r.resting.Load()
	if until == 0 {
		return true
	}
	now := r.since()
	return now >= until && r.resting.CompareAndSwap(until, now+int64(redisDial+redisReply))
}

// judge draws the conclusion from what an operation came to.
func (r *Client) judge(err error) error {
	if lost(err) {
		r.failures.Add(1)
		r.lost.Store(r.since())
		if away(err) || r.resting.Load() != 0 { // else one connection broke, and the next tells whether Redis is gone
			r.resting.Store(r.since() + int64(RetryAfter))
		}
		return unavailableRedis(err)
	}
	if r.resting.Load() != 0 {
		r.resting.Store(0)
	}
	if err != nil && !errors.Is(err, redigo.ErrNil) {
		if strings.HasPrefix(err.Error(), "READONLY") { // another is the master by now: connect anew
			r.lost.Store(r.since())
		}
		return unavailableRedis(err) // loading, read-only, out of memory, access denied
	}
	return err
}

// trusted turns idle connections away that the server has closed, as all are
// after its restart, and those that lay idle when another one broke: the network
// may have forgotten them.
func (r *Client) trusted(idle redigo.Conn, lastUsed time.Time) error {
	c := idle.(conn)
	if int64(lastUsed.Sub(r.began)) < r.lost.Load() || !r.current(c) || !netutil.StillOpen(c.network) {
		return errRedisLost
	}
	return nil
}

// current reports whether a connection leads to the master that Sentinels name, as far as they have said
// of late. After a planned failover the old master acknowledges writes for ten seconds more, and loses them.
func (r *Client) current(c conn) bool {
	if r.sentinels == nil {
		return true
	}
	master, said := r.sentinels.said()
	return !said || master == c.address
}

// since is the time since the start, in nanoseconds and never 0.
func (r *Client) since() int64 {
	return max(1, int64(time.Since(r.began)))
}

// lost reports whether err is about the way to Redis, not an answer of it.
func lost(err error) bool {
	if err == nil || errors.Is(err, redigo.ErrNil) {
		return false
	}
	_, answered := errors.AsType[redigo.Error](err)
	return !answered
}

// away reports whether err means that Redis itself can't be reached or is silent.
func away(err error) bool {
	return errors.Is(err, errRedisAway) || errors.Is(err, os.ErrDeadlineExceeded)
}

func unavailableRedis(err error) error {
	return fmt.Errorf("redis: %w: %w", ErrUnavailable, err)
}
