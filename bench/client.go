package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	setUpAtOnce = 4 // users that sign up, and notes that are deleted, concurrently
	setUpTime   = 2 * time.Minute
	cleanUpTime = time.Minute
	noteBytes   = 1 << 10 // bytes of a note's content
)

// A User is an account that was made for a load, with its own notes.
type User struct {
	Email  string
	Cookie string   // the Cookie header of its session
	Notes  []string // ids of its notes
}

// vocabulary has the words that notes contain and that are searched for.
var vocabulary = strings.Fields("harbour lantern meadow orchard pebble quarry ribbon saddle timber umbrella valley " +
	"willow anchor bramble candle dapple ember fathom garnet hollow ivory juniper kettle linen marble nectar otter " +
	"pewter")

// noteText returns the content of note i, a kilobyte of words.
func noteText(i int) string {
	var b strings.Builder
	for n := i; b.Len() < noteBytes; n += 1 + i%7 {
		b.WriteString(vocabulary[n%len(vocabulary)])
		b.WriteByte(' ')
	}
	return b.String()[:noteBytes]
}

func noteJSON(title string, i int) string {
	return fmt.Sprintf(`{"title":%q,"content":%q,"tags":["bench"]}`, title, noteText(i))
}

func credentialsJSON(email string) string {
	return fmt.Sprintf(`{"email":%q,"password":"correct horse battery"}`, email)
}

// A Client calls the API of a server: it makes users and notes, and deletes them.
type Client struct {
	url   string
	token string // ADMIN_TOKEN of the server, if this program started it
	http  *http.Client
}

// NewClient returns a client of the server at url.
func NewClient(url string) *Client {
	return &Client{url: url, http: &http.Client{Transport: &http.Transport{}, Timeout: Patience}}
}

// AdminClient returns a client with the rights of the administrator.
func (p *Process) AdminClient() *Client {
	c := NewClient(p.url)
	c.token = p.token
	return c
}

// Close closes the client's idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// addUsers signs up users and creates notes for each of them.
func (c *Client) addUsers(ctx context.Context, users, notes int) ([]User, error) {
	ctx, cancel := context.WithTimeout(ctx, setUpTime)
	defer cancel()
	all := make([]User, users)
	tag := strings.ToLower(rand.Text()[:8])
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(setUpAtOnce)
	for i := range all {
		group.Go(func() (err error) {
			all[i], err = c.newUser(ctx, fmt.Sprintf("bench-%s-%d@example.com", tag, i), notes)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("set up people and notes: %w", err)
	}
	return all, nil
}

// newUser signs up one user.
func (c *Client) newUser(ctx context.Context, email string, notes int) (User, error) {
	u := User{Email: email}
	answer, err := c.Call(ctx, http.MethodPost, "/api/auth/register", "", credentialsJSON(email), nil)
	if err != nil {
		return User{}, err
	}
	if u.Cookie, err = sessionCookie(answer); err != nil {
		return User{}, err
	}
	for i := range notes {
		var made struct{ Data struct{ ID string } }
		body := noteJSON(fmt.Sprintf("Note %d", i), i)
		if _, err := c.Call(ctx, http.MethodPost, "/api/notes", u.Cookie, body, &made); err != nil {
			return User{}, err
		}
		u.Notes = append(u.Notes, made.Data.ID)
	}
	return u, nil
}

// SignIn signs in a user that AddUsers or Seed has made.
func (c *Client) SignIn(ctx context.Context, email string) (User, error) {
	answer, err := c.Call(ctx, http.MethodPost, "/api/auth/login", "", credentialsJSON(email), nil)
	if err != nil {
		return User{}, err
	}
	u := User{Email: email}
	u.Cookie, err = sessionCookie(answer)
	return u, err
}

// sessionCookie returns the Cookie header for the session that a response starts.
func sessionCookie(answer *http.Response) (string, error) {
	for _, cookie := range answer.Cookies() {
		if cookie.Name == "sessionId" { // the cookie of the device has another name
			return cookie.Name + "=" + cookie.Value, nil
		}
	}
	return "", fmt.Errorf("POST %s gave no session", answer.Request.URL.Path)
}

// deleteAll deletes the notes of users, including those that the load wrote. It continues after ctx
// has ended. Its error says which notes are left.
func (c *Client) deleteAll(ctx context.Context, users []User) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	var errs []error
	for _, u := range users {
		if err := c.deleteNotes(ctx, u); err != nil {
			errs = append(errs, fmt.Errorf("notes of %s are left: %w", u.Email, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Client) deleteNotes(ctx context.Context, u User) error {
	for {
		var page struct{ Data []struct{ ID string } }
		if _, err := c.Call(ctx, http.MethodGet, "/api/notes?limit=500", u.Cookie, "", &page); err != nil {
			return err
		}
		if len(page.Data) == 0 {
			return nil
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(setUpAtOnce)
		for _, note := range page.Data {
			group.Go(func() error {
				_, err := c.Call(ctx, http.MethodDelete, "/api/notes/"+note.ID, u.Cookie, "", nil)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
}

// Call makes a request that has to succeed. It decodes the response into out, unless out is nil.
func (c *Client) Call(ctx context.Context, method, path, cookie, body string, out any) (*http.Response, error) {
	answer, text, err := c.Exchange(ctx, method, path, cookie, body)
	if err != nil || out == nil {
		return answer, err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer, nil
}

// Exchange makes a request that has to succeed, and returns the response with its body.
func (c *Client) Exchange(ctx context.Context, method, path, cookie, body string) (*http.Response, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	switch { // not both: with an Authorization header no cookie is read
	case cookie != "":
		r.Header.Set("Cookie", cookie)
	case c.token != "":
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return nil, nil, fmt.Errorf("%s %s: %s: %.200s", method, path, answer.Status, bytes.TrimSpace(text))
	}
	return answer, text, nil
}
