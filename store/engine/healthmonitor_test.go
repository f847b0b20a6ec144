package engine_test

import (
	"context"
	"testing"
	"time"

	"notesd/internal/testserver"
	"notesd/store/engine"
	"notesd/store/storetest"
)

func TestMain(m *testing.M) { testserver.Main(m) }

func ready(t *testing.T, db *engine.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := db.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

// Connections that the health monitor has ended are no trouble at the end.
func TestPostgresCloseSevered(t *testing.T) {
	db, err := engine.Open(t.Context(), engine.Config{URL: storetest.Postgres(t)})
	if err != nil {
		t.Fatal(err)
	}
	ready(t, db)
	if err := db.Ready(t.Context()); err != nil { // on a connection that stays
		t.Fatal(err)
	}
	engine.Sever(db)
	if err := db.Close(); err != nil {
		t.Errorf("Close() = %v, want nil", err)
	}
}
