// Package redistest has helpers for tests that use Redis.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"notesd/internal/redis"
)

// Open returns a client that is closed when the test ends.
func Open(t testing.TB, rawURL string) *redis.Client {
	t.Helper()
	c, err := redis.Open(rawURL)
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Ping sends a PING.
func Ping(ctx context.Context, c *redis.Client) error {
	_, err := c.Do(ctx, "PING")
	return err
}

// Occupy takes every connection, one after the other, until release is called.
func Occupy(t testing.TB, c *redis.Client) (release func()) {
	t.Helper()
	var done sync.WaitGroup
	free := make(chan struct{})
	for range redis.MaxConns {
		held := make(chan struct{})
		done.Go(func() {
			err := c.Run(t.Context(), func() error {
				conn := c.Pool().Get()
				defer conn.Close()
				close(held)
				<-free
				return conn.Err()
			})
			if err != nil {
				t.Errorf("Run() = %v", err)
			}
		})
		<-held
	}
	return func() { close(free); done.Wait() }
}

// Calls returns how often each command ran since the last call of Calls, by the server's count.
func Calls(t testing.TB, c *redis.Client) map[string]string {
	t.Helper()
	info, err := redigo.String(c.Do(t.Context(), "INFO", "commandstats"))
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]string{}
	for line := range strings.Lines(info) {
		if name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls="); ok {
			calls[name], _, _ = strings.Cut(rest, ",")
		}
	}
	if _, err := c.Do(t.Context(), "CONFIG", "RESETSTAT"); err != nil {
		t.Fatal(err)
	}
	for _, own := range []string{"info", "config|resetstat"} {
		delete(calls, own)
	}
	return calls
}

// Contents returns the strings and sorted sets in the database, each as text.
func Contents(t testing.TB, c *redis.Client) map[string]string {
	t.Helper()
	all := map[string]string{}
	keys, err := redigo.Strings(c.Do(t.Context(), "KEYS", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		kind, err := redigo.String(c.Do(t.Context(), "TYPE", key))
		if err != nil {
			t.Fatal(err)
		}
		read := map[string][]any{"string": {"GET", key}, "zset": {"ZRANGE", key, 0, -1}}[kind]
		if read == nil {
			continue // gone since
		}
		value, err := c.Do(t.Context(), read[0].(string), read[1:]...)
		if err != nil && !errors.Is(err, redigo.ErrNil) {
			t.Fatal(err)
		}
		all[key] = fmt.Sprintf("%s", value)
	}
	return all
}
