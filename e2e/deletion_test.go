package e2e

import (
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
)

// A process that is killed while it deletes an account goes on with it at its next start.
func TestDeletionKilled(t *testing.T) {
	t.Parallel()
	long(t, "kill -9; store.TestDeletionInterrupted stops between two steps")
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p, driver, url := newUnraced(t, "LOG_LEVEL=error", secret), "sqlite", ""
			if engine == "PostgreSQL" {
				driver, url = "pgx", testserver.EmptyPostgres(t)
				p.settings = append(p.settings, "DATABASE_URL="+url)
			}
			p.start()
			p.awaitReady()
			ada := p.member("ada@example.com")
			var running sync.WaitGroup
			for worker := range 4 {
				running.Go(func() {
					for i := range 100 {
						ada.create(fmt.Sprint(worker, " ", i), strings.Repeat("text ", 1000))
					}
				})
			}
			running.Wait()
			ada.call(http.MethodDelete, "/api/auth/me", map[string]string{"password": password}).want(http.StatusAccepted)
			p.kill()
			if engine == "SQLite" {
				url = p.data("notes.db")
			}
			if accounts, notes := left(t, driver, url); accounts != 1 || notes == 0 {
				t.Errorf("%d accounts and %d notes after the kill: it came too late", accounts, notes)
			}
			p.start()
			p.awaitReady()
			p.visitor().signIn("ada@example.com", password).want(http.StatusUnauthorized)
			testkit.Eventually(t, "the end of the account", func() bool {
				accounts, notes := left(t, driver, url)
				return accounts == 0 && notes == 0
			})
		})
	}
}

// left returns how many accounts and notes a database has.
func left(t *testing.T, driver, url string) (accounts, notes int) {
	t.Helper()
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM notes)").Scan(&accounts, &notes)
	if err != nil {
		t.Fatal(err)
	}
	return accounts, notes
}
