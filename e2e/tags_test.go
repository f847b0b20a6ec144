package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"notesd/internal/testserver"
)

// A process that is killed while it renames a tag leaves notes with the old tag and notes with the
// new one, and none without. The request sent again does the rest, and one undo takes back all of
// it.
func TestRenameKilled(t *testing.T) {
	t.Parallel()
	long(t, "kill -9; store.TestRenameTagsResumes stops between two steps")
	const total = 1000
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := newUnraced(t, "LOG_LEVEL=error", secret)
			if engine == "PostgreSQL" {
				p.settings = append(p.settings, "DATABASE_URL="+testserver.EmptyPostgres(t))
			}
			p.start()
			p.awaitReady()
			ada := p.member("ada@example.com")
			var running sync.WaitGroup
			for worker := range 4 {
				running.Go(func() {
					for i := range total / 4 {
						ada.post("/api/notes", note{Title: fmt.Sprint(worker, " ", i), Tags: []string{"old", fmt.Sprint(i)}}).
							want(http.StatusCreated)
					}
				})
			}
			running.Wait()
			counts := func() (old, renamed int) {
				t.Helper()
				var out struct {
					Data []struct {
						Tag   string
						Count int
					}
				}
				ada.get("/api/tags").want(http.StatusOK).decode(&out)
				for _, tag := range out.Data {
					switch tag.Tag {
					case "old":
						old = tag.Count
					case "new":
						renamed = tag.Count
					}
				}
				return old, renamed
			}
			rename := map[string]any{"from": []string{"old"}, "to": "new"}
			var sent sync.WaitGroup
			sent.Go(func() { _, _ = ada.try(http.MethodPost, "/api/tags/rename", rename) }) // its connection is cut
			for {
				if _, renamed := counts(); renamed > 0 {
					break
				}
			}
			p.kill()
			sent.Wait()
			p.start()
			p.awaitReady()
			old, renamed := counts()
			if old+renamed != total || old == 0 || renamed == 0 {
				t.Errorf("after the kill %d notes have the old tag and %d the new one, of %d", old, renamed, total)
			}
			var done struct {
				Data struct {
					Changed int
					Undo    string
				}
			}
			ada.post("/api/tags/rename", rename).want(http.StatusOK).decode(&done)
			if old, renamed := counts(); old != 0 || renamed != total || done.Data.Changed != total {
				t.Errorf("%d notes have the old tag and %d the new one, %d were changed, of %d", old, renamed, done.Data.Changed, total)
			}
			ada.post("/api/tags/undo", map[string]string{"undo": done.Data.Undo}).want(http.StatusOK)
			if old, renamed := counts(); old != total || renamed != 0 {
				t.Errorf("after the undo %d notes have the old tag and %d the new one, of %d", old, renamed, total)
			}
		})
	}
}
