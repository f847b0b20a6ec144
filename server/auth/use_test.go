package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/store"
)

// The last use of a session is kept to the hour, and never begins a session again.
func TestSeeSessions(t *testing.T) {
	t.Parallel()
	eachVault(t, func(t *testing.T, v vault) {
		user, expires := v.person(), time.Now().Add(time.Hour)
		sessions := newSessions(v, []string{"a secret"}, trustedCache())
		save := func(key string) store.Use {
			t.Helper()
			record, err := sessionCodec{}.Encode(expires, map[string]any{recordKey: sessionRecord{UserID: user, Epoch: new(int64)}})
			if err == nil {
				err = v.SaveSession(t.Context(), storedSession(key, record))
			}
			if err != nil {
				t.Fatal(err)
			}
			return store.Use{Key: key, Expires: expires}
		}
		a, b := save("a"), save("b")
		hour := time.Now().UTC().Truncate(time.Hour)
		shows := func(want map[string]time.Time) {
			t.Helper()
			list, err := sessions.List(t.Context(), user)
			got := map[string]time.Time{}
			for _, s := range list {
				got[s.Key] = s.LastSeenAt
			}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("List() = %v (-want +got):\n%s", err, diff)
			}
		}
		see := func(hour time.Time, used ...store.Use) {
			t.Helper()
			if err := v.SeeSessions(t.Context(), used, hour); err != nil {
				t.Fatal(err)
			}
		}
		shows(map[string]time.Time{"a": {}, "b": {}})
		see(hour, a, b, store.Use{Key: "none", Expires: expires})
		see(hour.Add(time.Hour), b)
		shows(map[string]time.Time{"a": hour, "b": hour.Add(time.Hour)})
		if err := v.DeleteSession(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		see(hour.Add(2*time.Hour), a)
		shows(map[string]time.Time{"b": hour.Add(time.Hour)})
		if err := v.DeleteSessions(t.Context(), user, ""); err != nil {
			t.Fatal(err)
		}
		shows(map[string]time.Time{})
	})
}

// Each use is written once an hour, and those that could not be written are written later.
func TestUses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written []string
		broken := false
		u := newUses(func(_ context.Context, used []store.Use, hour time.Time) error {
			if broken {
				return errors.New("broken")
			}
			keys := map[string]bool{}
			for _, use := range used {
				keys[use.Key] = true
			}
			written = append(written, fmt.Sprint(hour.UTC().Hour(), slices.Sorted(maps.Keys(keys))))
			return nil
		})
		wrote := func(want ...string) {
			t.Helper()
			err := u.flush(t.Context())
			if broken != (err != nil) || !slices.Equal(written, want) {
				t.Errorf("flush() = %v, wrote %q, want %q", err, written, want)
			}
			written = nil
		}
		began := time.Now() // midnight
		wrote()
		u.add(store.Use{Key: "a"}, began) // it was seen in this hour
		wrote()
		u.add(store.Use{Key: "a"}, began.Add(-time.Second))
		u.add(store.Use{Key: "b"}, time.Time{})
		u.add(store.Use{Key: "b"}, time.Time{})
		wrote("0 [a b]")
		u.add(store.Use{Key: "b"}, time.Time{})
		wrote()
		time.Sleep(time.Hour)
		u.add(store.Use{Key: "b"}, time.Time{})
		broken = true
		wrote()
		broken = false
		u.add(store.Use{Key: "b"}, time.Time{})
		wrote("1 [b]")
		// However many there are, what is kept of them is bounded.
		for i := range 3 * maxUses {
			u.add(store.Use{Key: fmt.Sprint(i)}, time.Time{})
		}
		if err := u.flush(t.Context()); err != nil || strings.Count(strings.Join(written, ""), " ") == 0 {
			t.Errorf("flush() = %v, wrote %d times", err, len(written))
		}
		if len(u.waiting) > 0 || len(u.written) > maxUses+usesAtOnce {
			t.Errorf("%d wait and %d are written, want at most %d", len(u.waiting), len(u.written), maxUses)
		}
	})
}
