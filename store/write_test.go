package store_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"notesd/internal/testkit"
	"notesd/store"
	"notesd/store/storetest"
)

// numbered makes a table of numbers, which both engines know how to lock.
func numbered(t *testing.T, s *store.Store, rows int) {
	t.Helper()
	err := s.Write(t.Context(), func(tx *gorm.DB) error {
		if err := tx.Exec("CREATE TABLE numbers (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)").Error; err != nil {
			return err
		}
		for id := range rows {
			if err := tx.Exec("INSERT INTO numbers VALUES (?, 0)", id).Error; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func increase(tx *gorm.DB, id int) error {
	return tx.Exec("UPDATE numbers SET n = n + 1 WHERE id = ?", id).Error
}

func wantNumber(t *testing.T, s *store.Store, id, want int) {
	t.Helper()
	var got int
	if err := s.Reader(t.Context()).Raw("SELECT n FROM numbers WHERE id = ?", id).Scan(&got).Error; err != nil || got != want {
		t.Errorf("number %d = %d, %v, want %d", id, got, err, want)
	}
}

// However a transaction goes wrong, nothing of it stays and the next one runs.
func TestWriteTakenBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		numbered(t, s, 1)
		mine := errors.New("mine")
		ctx, cancel := context.WithCancel(t.Context())
		ways := []struct {
			name string
			ctx  context.Context
			fn   func() error
			want error
		}{
			{"an error", t.Context(), func() error { return mine }, mine},
			{"the context ends before the commit", ctx, func() error { cancel(); return nil }, context.Canceled},
			{"the context had ended before", ctx, func() error { return nil }, context.Canceled},
			{"a panic", t.Context(), func() error { panic(mine) }, mine},
			{"Goexit", t.Context(), func() error { runtime.Goexit(); return nil }, nil},
		}
		for _, way := range ways {
			var err error
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() {
					if v := recover(); v != nil {
						err = v.(error)
					}
				}()
				err = s.Write(way.ctx, func(tx *gorm.DB) error {
					if err := increase(tx, 0); err != nil {
						return err
					}
					return way.fn()
				})
			}()
			<-done
			if !errors.Is(err, way.want) {
				t.Errorf("%s: Write = %v, want %v", way.name, err, way.want)
			}
			wantNumber(t, s, 0, 0)
		}
		if err := s.Write(t.Context(), func(tx *gorm.DB) error { return increase(tx, 0) }); err != nil {
			t.Fatal(err)
		}
		wantNumber(t, s, 0, 1)
		for name := range s.Stats() { // the store itself asks the database now and then
			testkit.Eventually(t, name+" with no connection in use", func() bool { return s.Stats()[name].InUse == 0 })
		}
	})
}

// Transactions that lock the same rows in opposite order break each other up;
// each is done once all the same.
func TestWriteDeadlock(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		numbered(t, s, 2)
		var both sync.WaitGroup // have their first row
		both.Add(2)
		var wg sync.WaitGroup
		for first := range 2 {
			wg.Go(func() {
				begun := sync.OnceFunc(both.Done)
				err := s.Write(t.Context(), func(tx *gorm.DB) error {
					if err := increase(tx, first); err != nil {
						return err
					}
					begun()
					if s.Engine() == "PostgreSQL" { // on SQLite the second waits for the first to end
						both.Wait()
					}
					return increase(tx, 1-first)
				})
				if err != nil {
					t.Errorf("Write broken up by another = %v, want it tried again", err)
				}
			})
		}
		wg.Wait()
		wantNumber(t, s, 0, 2)
		wantNumber(t, s, 1, 2)
	})
}

// Contexts that end at any moment of any statement leave the connections fit
// for those who come after.
func TestCancelStorm(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		numbered(t, s, 4)
		if s.Engine() == "SQLite" {
			if err := s.WriterDB().Exec("CREATE TEMP TABLE mark (n)").Error; err != nil { // is this connection's
				t.Fatal(err)
			}
		}
		read := func(ctx context.Context) error {
			var n int
			return s.Reader(ctx).Raw(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 3000)
				SELECT count(*) FROM c`).Scan(&n).Error
		}
		write := func(ctx context.Context) error {
			return s.Write(ctx, func(tx *gorm.DB) error {
				id := rand.IntN(4)
				return errors.Join(increase(tx, id), increase(tx, id))
			})
		}
		one := func(ctx context.Context) error {
			return s.WriteOne(ctx, func(db *gorm.DB) error { return db.Exec("UPDATE numbers SET n = n + 2 WHERE id = 0").Error })
		}
		ended := time.Now().Add(time.Second)
		var cut sync.Map
		var wg sync.WaitGroup
		for worker := range 8 {
			call := []func(context.Context) error{read, write, one}[worker%3]
			wg.Go(func() {
				for time.Now().Before(ended) {
					deadline := time.Now().Add(rand.N(2 * time.Millisecond))
					ctx, cancel := context.WithDeadline(t.Context(), deadline)
					if err := call(ctx); err != nil {
						cut.Store(worker%3, true)
						if time.Now().Before(deadline) {
							t.Errorf("an error that no context caused: %v", err)
						}
					}
					cancel()
				}
			})
		}
		wg.Wait()
		for kind := range 3 {
			if _, ok := cut.Load(kind); !ok {
				t.Errorf("no call of kind %d was cut: the storm was none", kind)
			}
		}
		if s.Engine() == "SQLite" { // the one writer stays: it has not been interrupted
			if err := s.WriterDB().Exec("INSERT INTO mark VALUES (1)").Error; err != nil {
				t.Errorf("the storm took the writer: %v", err)
			}
			if waited := s.Stats()["writer"].WaitCount; waited != 0 {
				t.Errorf("%d writers waited for a connection that was still being given up", waited)
			}
		}
		for range 20 { // more than there are connections
			for _, call := range []func(context.Context) error{read, write, one} {
				if err := call(t.Context()); err != nil {
					t.Errorf("after the storm: %v", err)
				}
			}
		}
		var halves int
		err := s.Reader(t.Context()).Raw("SELECT count(*) FROM numbers WHERE n % 2 = 1").Scan(&halves).Error
		if err != nil || halves != 0 {
			t.Errorf("%d transactions were done by half, %v", halves, err)
		}
	})
}

// A statement that works for long ends with its context, and is told as such.
func TestDeadline(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		var n int
		err := s.Reader(ctx).Raw(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000000000)
			SELECT count(*) FROM c`).Scan(&n).Error
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
			t.Errorf("a statement of minutes under a deadline of 50 ms = %v after %v, want DeadlineExceeded",
				err, time.Since(began))
		}
	})
}

// Writers wait for their turn in our queue, in order, and never in sql.DB's,
// whose order is none.
func TestTurn(t *testing.T) {
	s := storetest.Open(t, storetest.SQLite(t))
	numbered(t, s, 1)
	const writers = 20
	var order []int
	var wg sync.WaitGroup
	err := s.Write(t.Context(), func(*gorm.DB) error { // holds the turn while they line up
		for i := range writers {
			wg.Go(func() {
				err := s.Write(t.Context(), func(tx *gorm.DB) error {
					order = append(order, i)
					return increase(tx, 0)
				})
				if err != nil {
					t.Error(err)
				}
			})
			waitBlocked(t, i+1)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for i, got := range order {
		if got != i {
			t.Fatalf("writers were served in the order %v, want that of their coming", order)
		}
	}
	wantNumber(t, s, 0, writers)
	for name, pool := range s.Stats() {
		if pool.WaitCount != 0 {
			t.Errorf("%s: %d waited in sql.DB's queue, want none", name, pool.WaitCount)
		}
	}
}

// waitBlocked returns once n goroutines wait for their turn.
func waitBlocked(t *testing.T, n int) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for range 10000 {
		all := string(stacks[:runtime.Stack(stacks, true)])
		waiting := 0
		for goroutine := range strings.SplitSeq(all, "\n\n") {
			header, _, _ := strings.Cut(goroutine, "\n")
			if strings.Contains(goroutine, ").withWriteLock(") && strings.Contains(header, "[select") {
				waiting++
			}
		}
		if waiting == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%d writers do not get to wait", n)
}

func TestClosed(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), store.Config{URL: url, Log: testkit.Log(t)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if _, err := s.User(t.Context(), "id"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("User after Close = %v, want ErrUnavailable", err)
		}
		if err := s.DeleteUser(t.Context(), "id"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("DeleteUser after Close = %v, want ErrUnavailable", err)
		}
		if err := s.Ready(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("Ready after Close = %v, want ErrUnavailable", err)
		}
	})
}
