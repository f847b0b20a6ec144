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
	setUpAtOnce = 4 // people who sign up, and notes that are deleted, at the same time
	setUpTime   = 2 * time.Minute
	cleanUpTime = time.Minute
	noteBytes   = 1 << 10 // of a note's content
)

// A person is one whom the load signs up, with notes of their own.
type person struct {
	email  string
	cookie string   // Cookie header of their session
	notes  []string // ids
}

// vocabulary is what notes are written in, and searched for.
var vocabulary = strings.Fields("harbour lantern meadow orchard pebble quarry ribbon saddle timber umbrella valley " +
	"willow anchor bramble candle dapple ember fathom garnet hollow ivory juniper kettle linen marble nectar otter pewter")

// noteText is the content of note i: a kilobyte of words.
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

// settlers sets up people and removes what is theirs, through the API like anybody.
type settlers struct {
	url   string
	token string // of the server's administrators, if it is ours
	http  *http.Client
}

func newSettlers(url string) *settlers {
	return &settlers{url: url, http: &http.Client{Transport: &http.Transport{}, Timeout: patience}}
}

// asker asks the process what its administrators may know.
func (p *process) asker() *settlers {
	s := newSettlers(p.url)
	s.token = p.token
	return s
}

func (s *settlers) close() { s.http.CloseIdleConnections() }

// settle signs up people and gives each of them notes.
func (s *settlers) settle(ctx context.Context, people, notes int) ([]person, error) {
	ctx, cancel := context.WithTimeout(ctx, setUpTime)
	defer cancel()
	all := make([]person, people)
	tag := strings.ToLower(rand.Text()[:8])
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(setUpAtOnce)
	for i := range all {
		group.Go(func() (err error) {
			all[i], err = s.newPerson(ctx, fmt.Sprintf("bench-%s-%d@example.com", tag, i), notes)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("set up people and notes: %w", err)
	}
	return all, nil
}

func (s *settlers) newPerson(ctx context.Context, email string, notes int) (person, error) {
	p := person{email: email}
	answer, err := s.call(ctx, http.MethodPost, "/api/auth/register", "", credentialsJSON(email), nil)
	if err != nil {
		return person{}, err
	}
	for _, cookie := range answer.Cookies() {
		if cookie.Name == "sessionId" { // the device has another
			p.cookie = cookie.Name + "=" + cookie.Value
		}
	}
	if p.cookie == "" {
		return person{}, errors.New("POST /api/auth/register gave no session")
	}
	for i := range notes {
		var made struct{ Data struct{ ID string } }
		body := noteJSON(fmt.Sprintf("Note %d", i), i)
		if _, err := s.call(ctx, http.MethodPost, "/api/notes", p.cookie, body, &made); err != nil {
			return person{}, err
		}
		p.notes = append(p.notes, made.Data.ID)
	}
	return p, nil
}

// leave deletes the notes of people, those that the load wrote too. It goes on
// when ctx has ended, and says what is left.
func (s *settlers) leave(ctx context.Context, people []person) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	var errs []error
	for _, p := range people {
		if err := s.deleteNotes(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("notes of %s are left: %w", p.email, err))
		}
	}
	return errors.Join(errs...)
}

func (s *settlers) deleteNotes(ctx context.Context, p person) error {
	for {
		var page struct{ Data []struct{ ID string } }
		if _, err := s.call(ctx, http.MethodGet, "/api/notes?limit=500", p.cookie, "", &page); err != nil {
			return err
		}
		if len(page.Data) == 0 {
			return nil
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(setUpAtOnce)
		for _, note := range page.Data {
			group.Go(func() error {
				_, err := s.call(ctx, http.MethodDelete, "/api/notes/"+note.ID, p.cookie, "", nil)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
}

// call makes a request that has to succeed and decodes the answer into out, unless that is nil.
func (s *settlers) call(ctx context.Context, method, path, cookie, body string, out any) (*http.Response, error) {
	answer, text, err := s.exchange(ctx, method, path, cookie, body)
	if err != nil || out == nil {
		return answer, err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer, nil
}

// exchange makes a request that has to succeed and returns the answer with its body.
func (s *settlers) exchange(ctx context.Context, method, path, cookie, body string) (*http.Response, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	answer, err := s.http.Do(r)
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
