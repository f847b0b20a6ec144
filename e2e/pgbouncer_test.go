package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notesd/internal/testserver"
)

// Two replicas on a PostgreSQL behind PgBouncer are what they are without it.
func TestPgBouncer(t *testing.T) {
	long(t, "PgBouncer")
	for _, row := range []struct {
		name, mode string
		past       bool // DATABASE_CHANNEL_URL leads past it
		copies     bool // what others change is heard of, so there are copies
	}{
		{"by session", "session", false, true},
		{"by transaction", "transaction", false, false},
		{"by transaction, a channel past it", "transaction", true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			direct := testserver.EmptyPostgres(t)
			settings := []string{"DATABASE_URL=" + testserver.PgBouncer(t, direct, row.mode), secret}
			if row.past {
				settings = append(settings, "DATABASE_CHANNEL_URL="+direct)
			}
			one, other := newProcess(t, settings...), newProcess(t, settings...)
			one.start()
			other.start()
			one.awaitReady()
			other.awaitReady()
			if row.copies {
				one.awaitCopies()
				other.awaitCopies()
			}
			checkShared(t, one, other)
			checkSharedLock(t, one, other)
			writers := startWriters(other)
			time.Sleep(time.Second)
			if f := writers.stop(t); f.missing+f.twice+f.undone+f.risen > 0 || f.notes == 0 {
				t.Errorf("%+v, want some notes and no harm", f)
			}
			if !row.copies {
				checkDeaf(t, one)
			}
			for _, p := range []*process{one, other} {
				if p.cache().Trusted != row.copies {
					t.Errorf("copies are trusted: %v, want %v", !row.copies, row.copies)
				}
			}
		})
	}
}

// checkDeaf: a replica that can't hear the others says so, once, and what to set.
func checkDeaf(t *testing.T, p *process) {
	t.Helper()
	const message = "channel to the other replicas is broken, trying again"
	p.awaitLog(message)
	time.Sleep(6 * time.Second) // longer than the same reason is kept quiet about otherwise
	if said := p.log.With(message); len(said) != 1 || !strings.Contains(said[0].Text("error"), "DATABASE_CHANNEL_URL") {
		t.Errorf("the log has %v, want once that DATABASE_CHANNEL_URL is to lead past the pooler", said)
	}
}

// A PostgreSQL that is restarted behind PgBouncer is in use again soon, with the
// server_login_retry that docs/SCALING.md asks for.
func TestPgBouncerRestart(t *testing.T) {
	t.Parallel()
	long(t, "PgBouncer")
	server := testserver.NewPostgres(t)
	p := start(t, "DATABASE_URL="+testserver.PgBouncer(t, server.Database(t, "notes"), "transaction"), secret)
	p.awaitReady()
	ada := p.member("ada@example.com")
	server.Stop(t)
	p.await("no readiness", func() bool { return p.probe("/readyz") == http.StatusServiceUnavailable })
	time.Sleep(2 * time.Second) // in which PgBouncer tries in vain
	server.Start(t)
	began := time.Now()
	p.awaitReady()
	ada.create("after", "")
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("ready after %v, want 6s at most", took)
	}
}
