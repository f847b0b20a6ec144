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

// sentinels are what is known from the Sentinels of one master. They hear of a failover one after another, so
// the word with the highest epoch counts.
type sentinels struct {
	name      string   // of the master
	addresses []string // of the Sentinels

	mu    sync.Mutex // guards words
	words map[string]sentinelWord
}

// A sentinelWord is what one Sentinel has said.
type sentinelWord struct {
	master string // its address
	epoch  int64  // of the failover that made it the master
	at     time.Time
}

func newSentinels(name string, addresses []string) *sentinels {
	return &sentinels{name: name, addresses: addresses, words: map[string]sentinelWord{}}
}

// FindMaster asks Sentinels for the address of the master with a name.
func FindMaster(ctx context.Context, name string, addresses []string) (address string, err error) {
	return newSentinels(name, addresses).master(ctx)
}

// Follow asks each Sentinel several times a second who the master is, until ctx ends: connections to another
// are not used again.
func (r *Client) Follow(ctx context.Context) {
	if r.sentinels == nil {
		return
	}
	var asking sync.WaitGroup
	for _, address := range r.sentinels.addresses {
		asking.Go(func() { r.sentinels.follow(ctx, address) })
	}
	asking.Wait()
}

func (s *sentinels) follow(ctx context.Context, sentinel string) {
	tick := time.NewTicker(sentinelEvery)
	defer tick.Stop()
	for {
		s.listen(ctx, sentinel, tick.C)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// listen asks over one connection until that breaks or ctx ends.
func (s *sentinels) listen(ctx context.Context, sentinel string, tick <-chan time.Time) {
	conn, err := dialSentinel(ctx, sentinel)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		word, err := s.ask(ctx, conn)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.words[sentinel] = word
		s.mu.Unlock()
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// said is the master as of the words of late; false: there are none.
func (s *sentinels) said() (master string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := sentinelWord{epoch: -1}
	for _, word := range s.words {
		if time.Since(word.at) < sentinelFresh && word.epoch > latest.epoch {
			latest = word
		}
	}
	return latest.master, latest.epoch >= 0
}

// master is the master's address as of the words of late, or else as of the first Sentinel that answers.
func (s *sentinels) master(ctx context.Context) (address string, err error) {
	if address, ok := s.said(); ok {
		return address, nil
	}
	var errs []error
	for _, sentinel := range s.addresses {
		word, err := s.askOnce(ctx, sentinel)
		if err == nil {
			return word.master, nil
		}
		errs = append(errs, fmt.Errorf("sentinel %s: %w", sentinel, err))
	}
	return "", errors.Join(errs...)
}

func (s *sentinels) askOnce(ctx context.Context, sentinel string) (sentinelWord, error) {
	conn, err := dialSentinel(ctx, sentinel)
	if err != nil {
		return sentinelWord{}, err
	}
	defer conn.Close()
	return s.ask(ctx, conn)
}

func dialSentinel(ctx context.Context, sentinel string) (redigo.Conn, error) {
	return redigo.DialContext(ctx, "tcp", sentinel, redigo.DialConnectTimeout(sentinelReply),
		redigo.DialReadTimeout(sentinelReply), redigo.DialWriteTimeout(sentinelReply))
}

// ask asks for the epoch first: the word may then be newer than its epoch, and not the other way round.
func (s *sentinels) ask(ctx context.Context, conn redigo.Conn) (sentinelWord, error) {
	state, err := redigo.StringMap(redigo.DoContext(conn, ctx, "SENTINEL", "MASTER", s.name))
	if lost(err) {
		return sentinelWord{}, err
	}
	epoch, _ := strconv.ParseInt(state["config-epoch"], 10, 64) // 0 where the Sentinel does not let us ask
	found, err := redigo.Strings(redigo.DoContext(conn, ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.name))
	if errors.Is(err, redigo.ErrNil) || err == nil && len(found) != 2 {
		return sentinelWord{}, fmt.Errorf("it knows no master %q", s.name)
	}
	if err != nil {
		return sentinelWord{}, err
	}
	return sentinelWord{net.JoinHostPort(found[0], found[1]), epoch, time.Now()}, nil
}
