package api

import (
	"context"
	"encoding/json"
	"net/http"

	"notesd/notes"
	"notesd/server/auth"
	"notesd/server/router"
	"notesd/store"
)

var (
	errInputFormat = router.NewError(http.StatusBadRequest, "Invalid input format")
	errNobody      = router.NewError(http.StatusUnauthorized, "Not authenticated")
)

// A User is a user as the API shows one.
type User struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Name  string `json:"name"`
}

func userOutput(u store.User) User { return User{ID: u.ID, Email: u.Email, Name: u.Name} }

// loginResponse is the response to a sign-up and a sign-in.
type loginResponse struct {
	User    User   `json:"user"`
	Message string `json:"message,omitempty"`
	// Merges is of GET /api/auth/me: a client may send baseRevision, because every process obeys it.
	Merges bool `json:"merges,omitempty"`
	// Preferences is of GET /api/auth/me: what apps have stored there.
	Preferences json.RawMessage `json:"preferences,omitempty"`
}

// readCredentials reads the body of register and login.
func readCredentials(c *router.Context) (auth.Credentials, error) {
	o, err := c.ReadObject()
	if err != nil {
		return auth.Credentials{}, err
	}
	email, okEmail := o.Text("email")
	password, okPassword := o.Text("password")
	remember, okRemember := o.Flag("rememberMe")
	code, okCode := readCode(o)
	if !okEmail || !okPassword || !okRemember || !okCode || email == "" || password == "" {
		return auth.Credentials{}, errInputFormat
	}
	return auth.Credentials{Email: email, Password: password, Code: code, Remember: remember}, nil
}

// readCode reads the one-time code or recovery code of a body, which may be missing.
func readCode(o router.Object) (code string, ok bool) {
	if _, there := o["totp"]; !there {
		return "", true
	}
	return o.Text("totp")
}

// client describes the client of c to the accounts.
func client(c *router.Context) auth.Client {
	return auth.Client{Request: c.Request(), Address: c.Address(), Secure: c.Secure(),
		// If other requests hold the memory, it waits, since their work ends soon.
		ReserveHash: func(ctx context.Context) error { return c.ReserveWait(ctx, auth.HashBytes) },
	}
}

// register handles POST /api/auth/register.
func (a *API) register(c *router.Context) error {
	in, err := readCredentials(c)
	if err != nil {
		return err
	}
	u, err := a.accounts.Register(c.Context(), c.Writer(), client(c), in)
	if err != nil {
		return err
	}
	return c.Data(http.StatusCreated, loginResponse{User: userOutput(u), Message: "Account created successfully"})
}

// login handles POST /api/auth/login.
func (a *API) login(c *router.Context) error {
	in, err := readCredentials(c)
	if err != nil {
		return err
	}
	if len(in.Password) > notes.MaxPassword || !notes.ValidText(in.Email) {
		return errInputFormat
	}
	u, err := a.accounts.SignIn(c.Context(), c.Writer(), client(c), in)
	if err != nil {
		return err
	}
	return c.Data(http.StatusOK, loginResponse{User: userOutput(u), Message: "Logged in successfully"})
}

// logout handles POST /api/auth/logout, with or without a session.
func (a *API) logout(c *router.Context) error {
	if err := a.accounts.SignOut(c.Context(), c.Writer(), client(c)); err != nil {
		return err
	}
	// "storage" is not cleared, because an app may keep text there that it could not send yet.
	c.SetHeader("Clear-Site-Data", `"cache"`)
	return c.Message("Logged out successfully")
}
