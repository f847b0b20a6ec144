package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

const (
	// sentinelTimeout is the time to connect to a Sentinel, and the time for each of its replies.
	sentinelTimeout  = 150 * time.Millisecond
	sentinelInterval = 250 * time.Millisecond // between two queries to one Sentinel
	sentinelTTL      = 2 * time.Second        // how long a reply is valid
)

// sentinels stores the last replies of the Sentinels of one master. The Sentinels learn of a
// failover one after another, so the reply with the highest epoch counts.
type sentinels struct {
	name      string   // the master's name
	addresses []string // the Sentinels' addresses

	mu      sync.Mutex // guards replies
	replies map[string]sentinelReply
}

// A sentinelReply is one Sentinel's view of the master.
type sentinelReply struct {
	master string // its address
	epoch  int64  // the epoch of the failover that made it the master
	at     time.Time
}

func newSentinels(name string, addresses []string) *sentinels {
	return &sentinels{name: name, addresses: addresses, replies: map[string]sentinelReply{}}
}

// FindMaster asks Sentinels for the address of the master of that name.
func FindMaster(ctx context.Context, name string, addresses []string) (address string, err error) {
	return newSentinels(name, addresses).master(ctx)
}

// Follow asks each Sentinel several times a second for the master, until ctx ends. The Client does
// not use connections to a former master again.
func (c *Client) Follow(ctx context.Context) {
	if c.sentinels == nil {
		return
	}
	var running sync.WaitGroup
	for _, address := range c.sentinels.addresses {
		running.Go(func() { c.sentinels.follow(ctx, address) })
	}
	running.Wait()
}

// follow polls one Sentinel until ctx ends. It makes a new connection whenever the last one breaks.
func (s *sentinels) follow(ctx context.Context, sentinel string) {
	tick := time.NewTicker(sentinelInterval)
	defer tick.Stop()
	for {
		s.poll(ctx, sentinel, tick.C)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// poll queries a Sentinel over one connection, until it breaks or ctx ends.
func (s *sentinels) poll(ctx context.Context, sentinel string, tick <-chan time.Time) {
	conn, err := dialSentinel(ctx, sentinel)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		reply, err := s.ask(ctx, conn)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.replies[sentinel] = reply
		s.mu.Unlock()
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// lastKnown returns the master according to the replies that are still valid. ok is false if no
// reply is.
func (s *sentinels) lastKnown() (master string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := sentinelReply{epoch: -1}
	for _, reply := range s.replies {
		if time.Since(reply.at) < sentinelTTL && reply.epoch > latest.epoch {
			latest = reply
		}
	}
	return latest.master, latest.epoch >= 0
}

// master returns the master's address. It is the last known address, or else the reply of the first
// Sentinel that answers.
func (s *sentinels) master(ctx context.Context) (address string, err error) {
	if address, ok := s.lastKnown(); ok {
		return address, nil
	}
	var errs []error
	for _, sentinel := range s.addresses {
		reply, err := s.askOnce(ctx, sentinel)
		if err == nil {
			return reply.master, nil
		}
		errs = append(errs, fmt.Errorf("sentinel %s: %w", sentinel, err))
	}
	return "", errors.Join(errs...)
}

func (s *sentinels) askOnce(ctx context.Context, sentinel string) (sentinelReply, error) {
	conn, err := dialSentinel(ctx, sentinel)
	if err != nil {
		return sentinelReply{}, err
	}
	defer conn.Close()
	return s.ask(ctx, conn)
}

func dialSentinel(ctx context.Context, sentinel string) (redigo.Conn, error) {
	return redigo.DialContext(ctx, "tcp", sentinel, redigo.DialConnectTimeout(sentinelTimeout),
		redigo.DialReadTimeout(sentinelTimeout), redigo.DialWriteTimeout(sentinelTimeout))
}

// ask queries the epoch first. So the address may be newer than its epoch, but not older.
func (s *sentinels) ask(ctx context.Context, conn redigo.Conn) (sentinelReply, error) {
	state, err := redigo.StringMap(redigo.DoContext(conn, ctx, "SENTINEL", "MASTER", s.name))
	if isLost(err) {
		return sentinelReply{}, err
	}
	// 0 if the Sentinel denies the command.
	epoch, _ := strconv.ParseInt(state["config-epoch"], 10, 64)
	found, err := redigo.Strings(redigo.DoContext(conn, ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.name))
	if errors.Is(err, redigo.ErrNil) || err == nil && len(found) != 2 {
		return sentinelReply{}, fmt.Errorf("it knows no master %q", s.name)
	}
	if err != nil {
		return sentinelReply{}, err
	}
	return sentinelReply{net.JoinHostPort(found[0], found[1]), epoch, time.Now()}, nil
}
