package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"notesd/internal/owned"
	"notesd/server/auth"
	"notesd/server/router"
)

// maxAnswer is the length of the longest response that a Client reads, in bytes.
const maxAnswer = 16 << 20

// ErrLeft says that the server has left before it took the request. Nothing was changed.
var ErrLeft = errors.New("the running server has left")

// A Client manages accounts by way of a running server, over its Socket. It has the methods of
// Users.
type Client struct {
	http     *http.Client
	database string
}

// Connect returns a client of the server that answers on the socket in dir, if the server has the
// database of that name (see store.Store.Identity). Otherwise it returns an error.
func Connect(ctx context.Context, dir, database string) (*Client, error) {
	c := &Client{database: database, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialSocket(ctx, dir) }}}}
	return c, c.do(ctx, http.MethodGet, "/api/health", nil, nil)
}

// Close closes the client's connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// dialSocket connects to the socket in dir. Passwords are sent there, so it must not be another
// user's.
func dialSocket(ctx context.Context, dir string) (conn net.Conn, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrLeft, err)
		}
	}()
	path := filepath.Join(dir, SocketName)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := owned.Check(path, info); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dialer := net.Dialer{Timeout: socketDial}
	return dialer.DialContext(ctx, "unix", filepath.Join(shortPath(f), SocketName))
}

// List is Users.List.
func (c *Client) List(ctx context.Context, in UserList) (page UserPage, err error) {
	query := url.Values{}
	for name, value := range map[string]string{"email": in.Email, "after": in.After} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if in.Limit > 0 {
		query.Set("limit", strconv.Itoa(in.Limit))
	}
	err = c.do(ctx, http.MethodGet, "/api/admin/users?"+query.Encode(), nil, &page)
	return page, err
}

// Add is Users.Add.
func (c *Client) Add(ctx context.Context, in NewUser) (result UserResult, err error) {
	err = c.do(ctx, http.MethodPost, "/api/admin/users", in, &result)
	return result, err
}

// Change is Users.Change.
func (c *Client) Change(ctx context.Context, id string, in UserChange) (result UserResult, err error) {
	err = c.do(ctx, http.MethodPatch, "/api/admin/users/"+url.PathEscape(id), in, &result)
	return result, err
}

// Delete is Users.Delete.
func (c *Client) Delete(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/api/admin/users/"+url.PathEscape(id), nil, nil)
}

// do sends a request with in as its body, and decodes the data of the response into out. Both may
// be nil. It returns the errors of Users, and a *router.Error for any other response that is no
// success.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if in == nil {
		body = nil
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://notesd"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(databaseHeader, c.database)
	answer, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("the running server: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("the running server: %w", err)
	}
	var response struct {
		Data           json.RawMessage
		Message, Error string
		Reason         string
		Fields         map[string]string
	}
	if err := json.Unmarshal(text, &response); err != nil {
		return fmt.Errorf("the running server answers %s", answer.Status)
	}
	switch {
	case answer.StatusCode == ErrNoUser.Status && response.Error == ErrNoUser.Message:
		return ErrNoUser
	case answer.StatusCode == ErrUserExists.Status && response.Error == ErrUserExists.Message:
		return ErrUserExists
	case response.Reason == "draining": // it ends, and takes no more requests
		return fmt.Errorf("%w: %s", ErrLeft, response.Error)
	case answer.StatusCode >= http.StatusBadRequest:
		return &router.Error{Status: answer.StatusCode, Message: response.Error, Fields: response.Fields}
	}
	if out != nil {
		if err := json.Unmarshal(response.Data, out); err != nil {
			return fmt.Errorf("the running server: %w", err)
		}
	}
	if response.Message == staleText(auth.ErrStale) {
		return auth.ErrStale
	}
	return nil
}
