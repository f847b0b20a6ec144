package storetest_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

func TestMain(m *testing.M) { testserver.Main(m) }

func TestEach(t *testing.T) {
	var mu sync.Mutex // guards ran
	var ran []string
	t.Run("engines", func(t *testing.T) { // which returns when both have run
		storetest.Each(t, func(t *testing.T, s *store.Store) {
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("%s: Ready() = %v", s.Engine(), err)
			}
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, s.Engine())
		})
	})
	slices.Sort(ran)
	if got, want := strings.Join(ran, ","), "PostgreSQL,SQLite"; got != want {
		t.Errorf("Each ran on %s, want %s", got, want)
	}
}
