package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/store"
	"notesd/store/storetest"
)

// The log has what was put in, the newest first, and belongs to its account.
func TestAccountLog(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		u, other := mustUser(t, s, "somebody@example.org"), mustUser(t, s, "other@example.org")
		var want []store.LogEntry
		for i, event := range []store.AccountEvent{store.EventSignedUp, store.EventSignedIn, store.EventWrongPassword} {
			e := store.LogEntry{Event: event, Address: fmt.Sprintf("2001:db8::%d", i), Device: "Firefox on Linux"}
			if err := s.LogAccount(t.Context(), u.ID, e); err != nil {
				t.Fatal(err)
			}
			e.At = time.Now().UTC()
			want = append([]store.LogEntry{e}, want...)
			time.Sleep(time.Second)
		}
		got, err := s.AccountLog(t.Context(), u.ID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("AccountLog = %v (-want +got):\n%s", err, diff)
		}
		if got, err := s.AccountLog(t.Context(), other.ID); err != nil || len(got) != 0 {
			t.Errorf("AccountLog of another account = %v, %v", got, err)
		}
		if err := s.LogAccount(t.Context(), "none", store.LogEntry{}); !errors.Is(err, store.ErrOwnerGone) {
			t.Errorf("LogAccount of nobody = %v, want ErrOwnerGone", err)
		}
	})
}

// Neither guesses nor the user's own events fill the disk, and guesses push out guesses only.
func TestAccountLogBounds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		u, other := mustUser(t, s, "somebody@example.org"), mustUser(t, s, "other@example.org")
		add := func(u store.User, event store.AccountEvent, device string) {
			t.Helper()
			if err := s.LogAccount(t.Context(), u.ID, store.LogEntry{Event: event, Device: device}); err != nil {
				t.Error(err)
			}
		}
		add(other, store.EventSignedIn, "another's")
		for i := range 85 {
			add(u, store.EventSignedIn, fmt.Sprint(i))
		}
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				for range 10 {
					add(u, store.EventWrongPassword, "a stranger's")
				}
			})
		}
		running.Wait()
		log, err := s.AccountLog(t.Context(), u.ID)
		if err != nil {
			t.Fatal(err)
		}
		own := 0
		for _, e := range log {
			if e.Event == store.EventSignedIn {
				own++
			}
		}
		if strangers := len(log) - own; own != 80 || strangers != 20 || log[99].Device != "5" {
			t.Errorf("%d entries of the user's and %d of strangers, want 80 and 20", own, strangers)
		}
		if log, err := s.AccountLog(t.Context(), other.ID); err != nil || len(log) != 1 {
			t.Errorf("AccountLog of another account = %v, %v", log, err)
		}
	})
}
