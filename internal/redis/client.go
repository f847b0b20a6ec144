// Package redis is a client for one Redis server, or for the master that Sentinels name.
//
// A Client makes three promises. It sends a command once, and the command ends, as a rule, within a
// second. An operation that Redis failed to do, or may have done without a reply, returns an error
// that wraps ErrUnavailable. After Redis is lost, one caller at a time tries Redis until it answers
// again, and the other callers get an error at once.
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

// The three timeouts of an operation add up to 1.5 seconds. As a rule an operation takes far less,
// since connections are seldom all in use while one has to be made.
const (
	AcquireTimeout = 250 * time.Millisecond // to wait for a free connection, when all are in use
	dialTimeout    = 500 * time.Millisecond // to connect and authenticate
	replyTimeout   = 750 * time.Millisecond // to wait for the reply to a command
)

const (
	MaxConns   = 64
	RetryAfter = 250 * time.Millisecond // after a loss, no caller tries Redis for this time

	// idleTimeout: a connection that was idle for longer may be dead, so it is not used again.
	idleTimeout = time.Minute
	// maxConnLife: older connections are not used again, so that all replicas come to use a new
	// server.
	maxConnLife = 30 * time.Minute
)

// ErrUnavailable means that Redis could not be reached, did not answer in time, or refused.
var ErrUnavailable = errors.New("unavailable")

var (
	errUnreachable = errors.New("no connection")
	errAllInUse    = errors.New("all connections are in use")
	errLost        = errors.New("lost a moment ago")
	errNoMaster    = errors.New("the Sentinels' master is none")
	errOldMaster   = errors.New("the Sentinels name another master by now")
)

// A Client is a connection pool for Redis. It has a maximum size, and makes connections when they
// are needed.
type Client struct {
	pool *redigo.Pool

	// slots holds one token for each connection in use. The owner of a token finds the pool not
	// full. So even Pool.Get, which takes no context, cannot block.
	slots chan struct{}

	epoch   time.Time
	retryAt atomic.Int64 // since epoch, when Redis may be tried again; 0: Redis answers
	// lostAt is when a connection last broke, since epoch. Connections that were idle then are not
	// trusted.
	lostAt   atomic.Int64
	failures atomic.Uint64

	sentinels *sentinels // nil: there are none

	runID       atomic.Pointer[string] // the id of the server that was connected to last
	onNewServer func()                 // may be nil
}

// Open returns a Client for a URL such as redis://user:password@host:6379/0, or rediss:// for TLS.
// With Sentinels, each given as host:port, the host in the URL is the name of a master. The Client
// asks the Sentinels for the master's address. Open makes no connection yet. Its errors do not
// contain the URL, which may contain a password.
func Open(rawURL string, sentinels ...string) (*Client, error) {
	if err := checkURL(rawURL); err != nil {
		return nil, fmt.Errorf("redis URL: %w", err)
	}
	c := &Client{slots: make(chan struct{}, MaxConns), epoch: time.Now()}
	if len(sentinels) > 0 {
		u, _ := url.Parse(rawURL) // checked above
		c.sentinels = newSentinels(u.Hostname(), sentinels)
	}
	c.pool = &redigo.Pool{
		MaxActive:       MaxConns,
		MaxIdle:         MaxConns, // with fewer, connections would be made again under load
		IdleTimeout:     idleTimeout,
		MaxConnLifetime: maxConnLife,
		TestOnBorrow:    c.testOnBorrow,
		DialContext:     func(ctx context.Context) (redigo.Conn, error) { return c.dial(ctx, rawURL) },
	}
	return c, nil
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

// OnNewServer sets a function that is called when a connection leads to another server than the
// last one, or to a server that was restarted. The new server may lack keys. OnNewServer must be
// called before the Client is shared.
func (c *Client) OnNewServer(f func()) { c.onNewServer = f }

// Close closes the connections as they become idle.
func (c *Client) Close() error { return c.pool.Close() }

// Stats are counts of connections and failures.
type Stats struct {
	Open  int `json:"open"`
	Idle  int `json:"idle"`
	InUse int `json:"inUse"`
	// Failures counts operations for which Redis was unreachable or did not answer in time.
	Failures uint64 `json:"failures"`
}

// Stats returns the current counts.
func (c *Client) Stats() Stats {
	s := c.pool.Stats()
	return Stats{Open: s.ActiveCount, Idle: s.IdleCount, InUse: len(c.slots), Failures: c.failures.Load()}
}

// Do runs one command.
func (c *Client) Do(ctx context.Context, name string, args ...any) (reply any, err error) {
	err = c.Run(ctx, func() error {
		conn := c.pool.Get()
		defer conn.Close()
		reply, err = conn.Do(name, args...)
		return err
	})
	return reply, err
}

// RunScript runs a script. Once Redis knows the script, it is called by its hash, in one round
// trip.
func (c *Client) RunScript(ctx context.Context, script *redigo.Script, keysAndArgs ...any) (reply any, err error) {
	err = c.Run(ctx, func() error {
		conn := c.pool.Get()
		defer conn.Close()
		reply, err = script.Do(conn, keysAndArgs...)
		return err
	})
	return reply, err
}

// A Command is a command of a Transaction.
type Command struct {
	name string
	args []any
}

// NewCommand returns the command name with its arguments.
func NewCommand(name string, args ...any) Command { return Command{name, args} }

// Transaction runs commands in one transaction, in one round trip.
func (c *Client) Transaction(ctx context.Context, commands ...Command) error {
	return c.Run(ctx, func() error {
		conn := c.pool.Get()
		defer conn.Close()
		if err := conn.Send("MULTI"); err != nil {
			return err
		}
		for _, command := range commands {
			if err := conn.Send(command.name, command.args...); err != nil {
				return err
			}
		}
		return firstError(redigo.Values(conn.Do("EXEC")))
	})
}

// firstError returns err, or else the first error among the replies of a transaction.
func firstError(replies []any, err error) error {
	for _, reply := range replies {
		if refusal, ok := reply.(redigo.Error); ok {
			return refusal
		}
	}
	return err
}

// Pool returns the connection pool, for libraries that take one. It may be used inside Run only.
func (c *Client) Pool() *redigo.Pool { return c.pool }

// Run calls fn, which may take one connection from the pool, wait for a reply and close the
// connection.
func (c *Client) Run(ctx context.Context, fn func() error) error {
	if err := c.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-c.slots }()
	return c.observe(fn())
}

// acquire waits for a free connection. If Redis is lost, it returns an error at once.
func (c *Client) acquire(ctx context.Context) error {
	if !c.mayTry() {
		return unavailable(errLost)
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	timeout := time.NewTimer(AcquireTimeout)
	defer timeout.Stop()
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-timeout.C:
		return unavailable(errAllInUse)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mayTry reports whether this caller may send a command to Redis: Redis answers as far as is known,
// or this caller is the one that tries it again.
func (c *Client) mayTry() bool {
	until := c.retryAt.Load()
	if until == 0 {
		return true
	}
	now := c.now()
	return now >= until && c.retryAt.CompareAndSwap(until, now+int64(dialTimeout+replyTimeout))
}

// observe learns from the result of an operation whether Redis answers. It returns the error for
// the caller.
func (c *Client) observe(err error) error {
	if isLost(err) {
		c.failures.Add(1)
		c.lostAt.Store(c.now())
		// If neither condition holds, one connection broke. The next one shows whether Redis is
		// lost.
		if isUnreachable(err) || c.retryAt.Load() != 0 {
			c.retryAt.Store(c.now() + int64(RetryAfter))
		}
		return unavailable(err)
	}
	if c.retryAt.Load() != 0 {
		c.retryAt.Store(0)
	}
	if err != nil && !errors.Is(err, redigo.ErrNil) {
		// Another server is the master by now, so connections must be made anew.
		if strings.HasPrefix(err.Error(), "READONLY") {
			c.lostAt.Store(c.now())
		}
		return unavailable(err) // Redis is loading, read-only, out of memory or denies access
	}
	return err
}

// now is the time since epoch in nanoseconds. It is never 0.
func (c *Client) now() int64 {
	return max(1, int64(time.Since(c.epoch)))
}

// conn is a connection of the pool, with its socket.
type conn struct {
	redigo.Conn
	socket net.Conn
	master string // the address that the Sentinels named
}

// dial makes a connection. It calls onNewServer if the server is not the one of the last dial.
func (c *Client) dial(ctx context.Context, rawURL string) (redigo.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	made, err := c.connect(ctx, rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	info, err := redigo.String(redigo.DoContext(made.Conn, ctx, "INFO"))
	if c.sentinels != nil && err == nil && infoField(info, "role") != "master" {
		err = errNoMaster
	}
	if err == nil && !c.leadsToMaster(made) {
		err = errOldMaster
	}
	if isLost(err) {
		return nil, errors.Join(fmt.Errorf("%w: %w", errUnreachable, err), made.Close())
	}
	if id := infoField(info, "run_id"); id != "" { // it is empty if Redis denies INFO
		if before := c.runID.Swap(&id); before != nil && *before != id && c.onNewServer != nil {
			c.onNewServer()
		}
	}
	return made, nil
}

// infoField returns a field of the reply to INFO.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (c *Client) connect(ctx context.Context, rawURL string) (made conn, err error) {
	made.Conn, err = redigo.DialURLContext(ctx, rawURL,
		redigo.DialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			if c.sentinels != nil {
				if address, err = c.sentinels.master(ctx); err != nil {
					return nil, err
				}
				made.master = address
			}
			var dialer net.Dialer
			made.socket, err = dialer.DialContext(ctx, network, address)
			return made.socket, err
		}),
		redigo.DialTLSHandshakeTimeout(dialTimeout),
		redigo.DialReadTimeout(replyTimeout), // redigo sets no timeout by default
		redigo.DialWriteTimeout(replyTimeout))
	return made, err
}

// testOnBorrow rejects idle connections that the server has closed, as it closes all by a restart.
// It also rejects connections that were idle when another connection broke, since the network may
// have forgotten them.
func (c *Client) testOnBorrow(idle redigo.Conn, lastUsed time.Time) error {
	it := idle.(conn)
	if int64(lastUsed.Sub(c.epoch)) < c.lostAt.Load() || !c.leadsToMaster(it) || !netutil.StillOpen(it.socket) {
		return errLost
	}
	return nil
}

// leadsToMaster reports whether a connection leads to the master that the Sentinels name, as far as
// is known. After a planned failover the old master acknowledges writes for another ten seconds,
// and loses them.
func (c *Client) leadsToMaster(it conn) bool {
	if c.sentinels == nil {
		return true
	}
	master, known := c.sentinels.lastKnown()
	return !known || master == it.master
}

// isLost reports whether err is a failure of the connection to Redis, and not a reply.
func isLost(err error) bool {
	if err == nil || errors.Is(err, redigo.ErrNil) {
		return false
	}
	_, replied := errors.AsType[redigo.Error](err)
	return !replied
}

// isUnreachable reports whether err means that Redis itself cannot be reached or does not answer.
func isUnreachable(err error) bool {
	return errors.Is(err, errUnreachable) || errors.Is(err, os.ErrDeadlineExceeded)
}

func unavailable(err error) error {
	return fmt.Errorf("redis: %w: %w", ErrUnavailable, err)
}
