package store_test

import (
	"testing"
	"testing/synctest"
	"time"

	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// eachInTime is storetest.Each in fake time: a Sleep takes none.
func eachInTime(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	storetest.Engines(t, func(t *testing.T, url string) {
		synctest.Test(t, func(t *testing.T) {
			s := storetest.Open(t, url)
			s.LookAtFilesEvery(30 * 24 * time.Hour)
			test(t, s)
		})
	})
}

// mustUser makes an account.
func mustUser(t *testing.T, s *store.Store, email string) store.User {
	t.Helper()
	u, err := s.CreateUser(t.Context(), email, "somebody", "hash of "+email)
	if err != nil {
		t.Fatalf("CreateUser(%q) = %v", email, err)
	}
	return u
}
