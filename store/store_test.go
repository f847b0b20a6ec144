package store_test

import (
	"testing"

	"notesd/store"
)

func TestOpen(t *testing.T) {
	s, err := store.Open(t.Context(), store.Config{URL: t.TempDir() + "/data/notes.db"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
