package store_test

import (
	"errors"
	"fmt"
	"slices"
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

// Whoever signs in from ever new clients, with a wrong password from each, leaves no more than so many counts. The last
// ones stay, and other people's.
func TestDeviceLocksAreBounded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u, other := mustUser(t, s, "somebody@example.org"), mustUser(t, s, "other@example.org")
		before := time.Now().Add(-time.Hour)
		for i := range store.MaxDeviceLocks {
			err := s.WriterDB().Exec(`INSERT INTO sign_in_locks (key, user_id, failures, updated_at) VALUES (?, ?, 1, ?)`,
				fmt.Sprint("device ", i), u.ID, before.UnixMilli()+int64(i)).Error
			if err != nil {
				t.Fatal(err)
			}
		}
		for key, user := range map[string]string{"of another": other.ID, "unknown": "", "newest": u.ID} {
			if _, err := s.CountFailure(ctx, key, user); err != nil {
				t.Fatal(err)
			}
		}
		var left []string
		if err := s.DB().Raw("SELECT key FROM sign_in_locks WHERE updated_at <= ? OR updated_at > ? ORDER BY updated_at, key",
			before.UnixMilli()+1, before.UnixMilli()+int64(store.MaxDeviceLocks)).Scan(&left).Error; err != nil {
			t.Fatal(err)
		}
		slices.Sort(left)
		if got := fmt.Sprint(left); got != "[device 1 newest of another unknown]" {
			t.Errorf("left are %v, want all but the oldest of the person's devices", got)
		}
	})
}

// Addresses without account are forgotten when there are very many, the oldest first. Devices stay.
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
