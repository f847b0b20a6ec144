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
	sentinelTimeout  = 150 * time.Millisecond // to connect to a Sentinel, and for each of its replies
	sentinelInterval = 250 * time.Millisecond // between two questions to one Sentinel
	sentinelTTL      = 2 * time.Second        // how long a reply counts
)

// sentinels keeps the last replies of the Sentinels of one master. They learn of a failover one
// after another, so the reply with the highest epoch counts.
type sentinels struct {
	name      string   // of the master
	addresses []string // of the Sentinels

	mu      sync.Mutex // guards replies
	replies map[string]sentinelReply
}

// A sentinelReply is one Sentinel's view of the master.
type sentinelReply struct {
	master string // its address
	epoch  int64  // of the failover that made it the master
	at     time.Time
}

func newSentinels(name string, addresses []string) *sentinels {
	return &sentinels{name: name, addresses: addresses, replies: map[string]sentinelReply{}}
}

// FindMaster asks Sentinels for the address of the master with a name.
func FindMaster(ctx context.Context, name string, addresses []string) (address string, err error) {
	return newSentinels(name, addresses).master(ctx)
}

// Follow asks each Sentinel several times a second for the master, until ctx ends. Connections to
// another server are not used again.
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

// follow asks one Sentinel until ctx ends, over a new connection whenever the last one breaks.
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

// poll asks over one connection until it breaks or ctx ends.
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

// lastKnown returns the master by the replies that still count. ok is false if there are none.
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

// master returns the master's address: the last known one, or else that of the first Sentinel that
// answers.
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

// ask asks for the epoch first. The address may then be newer than its epoch, and not older.
func (s *sentinels) ask(ctx context.Context, conn redigo.Conn) (sentinelReply, error) {
	state, err := redigo.StringMap(redigo.DoContext(conn, ctx, "SENTINEL", "MASTER", s.name))
	if isLost(err) {
		return sentinelReply{}, err
	}
	epoch, _ := strconv.ParseInt(state["config-epoch"], 10, 64) // 0 where the Sentinel does not let us ask
	found, err := redigo.Strings(redigo.DoContext(conn, ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.name))
	if errors.Is(err, redigo.ErrNil) || err == nil && len(found) != 2 {
		return sentinelReply{}, fmt.Errorf("it knows no master %q", s.name)
	}
	if err != nil {
		return sentinelReply{}, err
	}
	return sentinelReply{net.JoinHostPort(found[0], found[1]), epoch, time.Now()}, nil
}
