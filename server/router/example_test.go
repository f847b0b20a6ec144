package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"notesd/pool"
	"notesd/server/router"
)

// textDoor is a second door: notes as plain text under /text.
type textDoor struct {
	mu    sync.Mutex // guards notes
	notes map[string]string
}

// errNoNote is an error of the domain, which knows no HTTP.
var errNoNote = errors.New("no such note")

var errEmpty = router.NewError(http.StatusBadRequest, "the note is empty")

// Routes returns the routes of the door.
func (d *textDoor) Routes() []router.Route {
	routes := []router.Route{
		{Method: http.MethodGet, Path: "/text/:name", Class: router.Read, Auth: router.SignedIn, Handle: d.read},
		{Method: http.MethodPut, Path: "/text/:name", Class: router.Write, Auth: router.SignedIn, Handle: d.write},
	}
	for i := range routes {
		routes[i].WriteError = writeText
	}
	return routes
}

const plainText = "text/plain; charset=utf-8"

func writeText(c *router.Context, status int, message string) {
	c.Bytes(status, plainText, []byte(message+"\n"))
}

func (d *textDoor) read(c *router.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, ok := d.notes[c.UserID()+"/"+c.Param("name")]
	if !ok {
		return errNoNote
	}
	c.Bytes(http.StatusOK, plainText, []byte(text))
	return nil
}

func (d *textDoor) write(c *router.Context) error {
	text, err := c.ReadBody() // gives back its permit while the client sends slowly
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return errEmpty
	}
	// A door on the store would call it in c.Commit.
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes[c.UserID()+"/"+c.Param("name")] = string(text)
	c.SetHeader("Location", "/text/"+c.Param("name"))
	writeText(c, http.StatusCreated, "saved")
	return nil
}

// ada takes every request for one of Ada's.
type ada struct{}

func (ada) Cached(*http.Request) router.Identity { return router.Identity{UserID: "ada"} }
func (ada) Hint(*http.Request) string            { return "ada" }
func (ada) Authenticate(context.Context, *http.Request, string) (router.Identity, error) {
	return router.Identity{UserID: "ada"}, nil
}

func Example() {
	log := slog.New(slog.DiscardHandler)
	rt, err := router.New(router.Config{
		RequestTimeout: time.Minute,
		BodyLimit:      100,
		Log:            log,
		Pool:           pool.New(pool.Config{Shards: 1, WorkersPerShard: 4, QueueLength: 64, QueueTimeout: time.Second, Log: log}),
		Auth:           ada{},
		ErrorFor: func(err error) *router.Error {
			if errors.Is(err, errNoNote) {
				return router.NewError(http.StatusNotFound, "there is no such note")
			}
			return nil
		},
	}, (&textDoor{notes: map[string]string{}}).Routes())
	if err != nil {
		panic(err)
	}
	ask := func(method, path, body string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Host = "localhost"
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, r)
		text, _ := io.ReadAll(w.Body)
		fmt.Println(method, path, w.Code, strings.TrimSpace(string(text)))
	}
	ask("GET", "/text/Shopping", "")
	ask("PUT", "/text/Shopping", "milk")
	ask("GET", "/TEXT/Shopping/", "")
	ask("GET", "/text/shopping", "")
	ask("PUT", "/text/Empty", "")
	ask("PUT", "/text/Long", strings.Repeat("milk ", 100))
	// Output:
	// GET /text/Shopping 404 there is no such note
	// PUT /text/Shopping 201 saved
	// GET /TEXT/Shopping/ 200 milk
	// GET /text/shopping 404 there is no such note
	// PUT /text/Empty 400 the note is empty
	// PUT /text/Long 413 Request body too large
}
