package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"notesd/store"
	"notesd/store/storetest"
)

// A device's wrong passwords, and those for an address without account, lock as an account's do.
func TestSignInLocks(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := mustUser(t, s, "somebody@example.org")
		for _, owner := range []string{"", u.ID} {
			key := "of " + owner
			fail := func(wantLocked bool) time.Time {
				t.Helper()
				until, err := s.CountFailure(ctx, key, owner)
				if err != nil || until.IsZero() == wantLocked {
					t.Fatalf("CountFailure = %v, %v, want locked: %t", until, err, wantLocked)
				}
				if lock, err := s.SignInLock(ctx, key); !lock.Equal(until) || err != nil {
					t.Errorf("SignInLock = %v, %v, want %v", lock, err, until)
				}
				return until
			}
			for range 4 {
				fail(false)
			}
			if err := s.ClearFailures(ctx, key); err != nil {
				t.Error(err)
			}
			for range 4 {
				fail(false)
			}
			until := fail(true)
			if want := time.Now().Add(15 * time.Minute); !until.Equal(want) {
				t.Errorf("the fifth failure locks until %v, want %v", until, want)
			}
			time.Sleep(15*time.Minute - time.Millisecond)
			if again := fail(true); !again.Equal(until) {
				t.Errorf("a failure while locked moves the lock from %v to %v", until, again)
			}
			if err := s.ClearFailures(ctx, key); !errors.Is(err, store.ErrLocked) {
				t.Errorf("ClearFailures while locked = %v, want ErrLocked", err)
			}
			time.Sleep(time.Millisecond) // the lock has run out
			for range 4 {
				fail(false)
			}
			fail(true)
		}
		if until, err := s.SignInLock(ctx, "another"); !until.IsZero() || err != nil {
			t.Errorf("SignInLock of another key = %v, %v, want none", until, err)
		}
		if err := s.Unlock(ctx, u.ID); err != nil {
			t.Fatal(err)
		}
		if until, err := s.SignInLock(ctx, "of "+u.ID); !until.IsZero() || err != nil {
			t.Errorf("SignInLock of an unlocked account's device = %v, %v, want none", until, err)
		}
		if err := s.Unlock(ctx, "none"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Unlock of nobody = %v, want ErrNotFound", err)
		}
		if _, err := s.CountFailure(ctx, "device of nobody", "none"); !errors.Is(err, store.ErrOwnerGone) {
			t.Errorf("CountFailure of nobody's device = %v, want ErrOwnerGone", err)
		}
	})
}

// Addresses without account are forgotten when there are very many, the oldest first, and devices never.
func TestUnknownLocksAreBounded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := mustUser(t, s, "somebody@example.org")
		if _, err := s.CountFailure(ctx, "device", u.ID); err != nil {
			t.Fatal(err)
		}
		const most = 5
		for i := range most + 2 {
			if _, err := s.CountFailure(ctx, fmt.Sprint(i), ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Millisecond) // to the next time that the table can tell from this
		}
		if err := s.BoundUnknownLocks(ctx, most); err != nil {
			t.Fatal(err)
		}
		var left []string
		if err := s.DB().Raw("SELECT key FROM sign_in_locks ORDER BY key").Scan(&left).Error; err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(left); got != "[2 3 4 5 6 device]" {
			t.Errorf("left are %v, want the device and the newest %d", got, most)
		}
	})
}
