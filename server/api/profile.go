package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"notesd/notes"
	"notesd/server/auth"
	"notesd/server/router"
	"notesd/store"
)

// invalid returns the error for input whose members are wrong.
func invalid(fields map[string]string) error {
	return &router.Error{Status: errInputFormat.Status, Message: errInputFormat.Message, Fields: fields}
}

// me handles GET /api/auth/me.
func (a *API) me(c *router.Context) error {
	if c.UserID() == "" {
		return errNobody
	}
	u, err := a.store.User(c.Context(), c.UserID())
	if errors.Is(err, store.ErrNotFound) {
		return errNobody
	}
	if err != nil {
		return err
	}
	return a.writeMe(c, u)
}

func (a *API) writeMe(c *router.Context, u store.User) error {
	return c.Data(http.StatusOK, loginResponse{User: userOutput(u), Merges: a.store.AllMerge(),
		Preferences: json.RawMessage(u.Preferences)})
}

// patchMe handles PATCH /api/auth/me.
func (a *API) patchMe(c *router.Context) error {
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	in, fields := readProfile(o)
	if len(fields) > 0 {
		return invalid(fields)
	}
	if in.Email != nil {
		if err := c.Reclassify(router.Password); err != nil {
			return err
		}
	}
	u, err := a.accounts.ChangeProfile(c.Context(), client(c), c.UserID(), in)
	if err != nil {
		return err
	}
	return a.writeMe(c, u)
}

// readProfile reads the body of PATCH /api/auth/me. fields says which members are wrong, and how.
func readProfile(o router.Object) (in auth.ProfileChange, fields map[string]string) {
	fields = map[string]string{}
	if _, there := o["name"]; there {
		name, ok := o.Text("name")
		if !ok || !notes.CheckName(name) {
			fields["name"] = "must be 1 to 100 characters"
		}
		in.Name = &name
	}
	if _, there := o["email"]; there {
		email, ok := o.Text("email")
		if !ok {
			fields["email"] = "must be text"
		}
		in.Email = &email
		if in.Current, ok = o.Text("current"); !ok || len(in.Current) > notes.MaxPassword {
			fields["current"] = "must be the current password"
		}
	}
	if raw, there := o["preferences"]; there {
		text, ok := readPreferences(raw)
		if !ok {
			fields["preferences"] = "must be an object of at most 16 KiB, or null"
		}
		in.Preferences = &text
	}
	return in, fields
}

// readPreferences returns the JSON text of preferences without blanks, or "" for null.
func readPreferences(raw router.Member) (text string, ok bool) {
	if string(raw) == "null" {
		return "", true
	}
	var short bytes.Buffer
	if raw[0] != '{' || json.Compact(&short, raw) != nil || short.Len() > store.MaxPreferences {
		return "", false
	}
	return short.String(), true
}

// changePassword handles POST /api/auth/password.
func (a *API) changePassword(c *router.Context) error {
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	var in auth.PasswordChange
	fields := map[string]string{}
	var ok bool
	if in.Current, ok = o.Text("current"); !ok || len(in.Current) > notes.MaxPassword {
		fields["current"] = "must be the current password"
	}
	if in.New, ok = o.Text("new"); !ok {
		fields["new"] = "must be text"
	}
	if in.EndTokens, ok = o.Flag("revokeTokens"); !ok {
		fields["revokeTokens"] = "must be true or false"
	}
	if len(fields) > 0 {
		return invalid(fields)
	}
	if err := a.accounts.ChangePassword(c.Context(), c.Writer(), client(c), c.UserID(), in); err != nil {
		return err
	}
	return c.Message("Password changed")
}
