package storetest_test

import (
	"strings"
	"testing"

	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

func TestMain(m *testing.M) { testserver.Main(m) }

func TestEach(t *testing.T) {
	var ran []string
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ran = append(ran, s.Engine())
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("%s: Ready() = %v", s.Engine(), err)
		}
	})
	if got, want := strings.Join(ran, ","), "SQLite,PostgreSQL"; got != want {
		t.Errorf("Each ran on %s, want %s", got, want)
	}
}
