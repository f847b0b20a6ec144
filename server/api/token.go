package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"notesd/notes"
	"notesd/server/router"
	"notesd/store"
)

var (
	errTokenGone     = router.NewError(http.StatusNotFound, "App token not found")
	errTooManyTokens = router.NewError(http.StatusBadRequest, "Too many app tokens: delete one first")
)

// A Token is an app token as the API shows one.
type Token struct {
	ID         string       `json:"id"`
	Name       string       `json:"name"`
	Scope      string       `json:"scope"`
	CreatedAt  router.Time  `json:"createdAt"`
	ExpiresAt  *router.Time `json:"expiresAt"`  // null: never
	LastUsedAt *router.Time `json:"lastUsedAt"` // to the hour; null: not yet
	// Token is what programs send. Only the response to its creation has it.
	Token string `json:"token,omitempty"`
}

func tokenOutput(t store.AppToken) Token {
	out := Token{ID: t.ID, Name: t.Name, Scope: "read", CreatedAt: router.Time(t.CreatedAt),
		ExpiresAt: timeOrNull(t.ExpiresAt), LastUsedAt: timeOrNull(t.LastUsedAt)}
	if t.Write {
		out.Scope = "write"
	}
	return out
}

// timeOrNull returns t as JSON shows it. The zero time is null.
func timeOrNull(t time.Time) *router.Time {
	if t.IsZero() {
		return nil
	}
	return new(router.Time(t))
}

// listTokens handles GET /api/auth/tokens.
func (a *API) listTokens(c *router.Context) error {
	list, err := a.store.AppTokens(c.Context(), c.UserID())
	if err != nil {
		return err
	}
	out := make([]Token, len(list))
	for i, t := range list {
		out[i] = tokenOutput(t)
	}
	return c.Data(http.StatusOK, out)
}

// makeToken handles POST /api/auth/tokens.
func (a *API) makeToken(c *router.Context) error {
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	t, fields := readToken(o)
	if len(fields) > 0 {
		return invalid(fields)
	}
	t.UserID = c.UserID()
	t, text, err := a.accounts.MakeToken(c.Context(), client(c), t)
	if errors.Is(err, store.ErrTokens) {
		return errTooManyTokens
	}
	if err != nil {
		return err
	}
	out := tokenOutput(t)
	out.Token = text
	c.SetHeader("Location", "/api/auth/tokens/"+t.ID)
	return c.Data(http.StatusCreated, out)
}

// readToken reads the body of POST /api/auth/tokens. fields says which members are wrong, and how.
func readToken(o router.Object) (t store.AppToken, fields map[string]string) {
	fields = map[string]string{}
	var ok bool
	if t.Name, ok = o.Text("name"); !ok || !notes.CheckName(t.Name) {
		fields["name"] = "must be 1 to 100 characters"
	}
	switch scope, _ := o.Text("scope"); scope {
	case "read":
	case "write":
		t.Write = true
	default:
		fields["scope"] = "must be read or write"
	}
	if raw := o["expiresAt"]; len(raw) > 0 && string(raw) != "null" {
		if err := json.Unmarshal(raw, &t.ExpiresAt); err != nil || !t.ExpiresAt.After(time.Now()) ||
			t.ExpiresAt.Year() > 9999 {
			fields["expiresAt"] = "must be a time in the future, such as 2030-01-31T00:00:00Z, or null"
		}
	}
	return t, fields
}

// endToken handles DELETE /api/auth/tokens/:id.
func (a *API) endToken(c *router.Context) error {
	id := c.Param("id")
	if !notes.ValidText(id) {
		return errTokenGone
	}
	err := a.accounts.EndToken(c.Context(), client(c), c.UserID(), id)
	if errors.Is(err, store.ErrNotFound) {
		return errTokenGone
	}
	if err != nil {
		return err
	}
	return c.Message("App token deleted")
}
