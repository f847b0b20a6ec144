package redis_test

import (
	"context"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"notesd/internal/redis"
	"notesd/internal/testkit"
	"notesd/internal/testserver"
)

// The client follows the Sentinels to another master within a second, though the old one still
// answers: for ten seconds it acknowledges writes that are lost.
func TestPlannedFailover(t *testing.T) {
	t.Parallel()
	s := testserver.NewSentinel(t)
	c, err := redis.Open("redis://"+testserver.SentinelMaster, append([]string{"127.0.0.1:1"}, s.Addresses...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	var following sync.WaitGroup
	defer following.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	following.Go(func() { c.Follow(ctx) })
	ask := func() string {
		info, err := redigo.String(c.Do(t.Context(), "INFO", "server"))
		if err != nil {
			return err.Error()
		}
		return redis.InfoField(info, "tcp_port")
	}
	ask() // the first connection
	before := ask()
	var asking sync.WaitGroup
	for range 8 { // more connections, for later
		asking.Go(func() { ask() })
	}
	asking.Wait()
	leader, err := redigo.Dial("tcp", s.Addresses[2])
	if err != nil {
		t.Fatal(err)
	}
	defer leader.Close()
	address := func() string {
		a, err := redigo.Strings(leader.Do("SENTINEL", "get-master-addr-by-name", testserver.SentinelMaster))
		if err != nil {
			t.Fatal(err)
		}
		return a[1]
	}
	if now := address(); now != before {
		t.Fatalf("before the failover Redis is at %s, and the Sentinel says %s", before, now)
	}
	testkit.Eventually(t, "failover", func() bool { // a Sentinel that has just begun may refuse it
		_, err := leader.Do("SENTINEL", "FAILOVER", testserver.SentinelMaster)
		return err == nil
	})
	testkit.Eventually(t, "another master", func() bool { return address() != before })
	said := time.Now()
	testkit.Eventually(t, "the other master in use", func() bool { return ask() != before })
	if took := time.Since(said); took > 5*time.Second { // a second, and a machine that is busy; it was ten
		t.Errorf("the other master is in use %v after the Sentinel named it, want 1s at most", took)
	}
	for range redis.MaxConns {
		if now := ask(); now == before {
			t.Fatal("a connection to the old master is still used")
		}
	}
}
