package server

import (
	"context"
	"errors"
	"net/http"

	"notesd/notes"
	"notesd/server/auth"
	"notesd/store"
)

// userJSON is a user as the API shows one.
type userJSON struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Name  string `json:"name"`
}

func userOutput(u store.User) userJSON { return userJSON{ID: u.ID, Email: u.Email, Name: u.Name} }

// welcome is the response to a sign-up and a sign-in.
type welcome struct {
	User    userJSON `json:"user"`
	Message string   `json:"message,omitempty"`
}

// readCredentials reads the body of register and login.
func (s *Server) readCredentials(x *exchange) (auth.Credentials, error) {
	o, err := s.readObject(x)
	if err != nil {
		return auth.Credentials{}, err
	}
	email, okEmail := o.text("email")
	password, okPassword := o.text("password")
	remember, okRemember := o.flag("rememberMe")
	if !okEmail || !okPassword || !okRemember || email == "" || password == "" {
		return auth.Credentials{}, errInputFormat
	}
	return auth.Credentials{Email: email, Password: password, Remember: remember}, nil
}

// client describes the client of x to the accounts.
func (s *Server) client(x *exchange) auth.Client {
	return auth.Client{Request: x.Request(), Address: x.addr, Secure: s.secure(x.Request()),
		// If other requests hold the memory, it waits, since their work ends soon.
		ReserveHash: func(ctx context.Context) error {
			return s.pool.ReserveWithin(ctx, &x.memory, x.reserver(), auth.HashBytes, s.pacer.most)
		},
	}
}

// register handles POST /api/auth/register.
func register(s *Server, x *exchange) error {
	in, err := s.readCredentials(x)
	if err != nil {
		return err
	}
	u, err := s.accounts.Register(x.ctx, &x.out, s.client(x), in)
	if err != nil {
		return err
	}
	return x.data(http.StatusCreated, welcome{userOutput(u), "Account created successfully"})
}

// login handles POST /api/auth/login.
func login(s *Server, x *exchange) error {
	in, err := s.readCredentials(x)
	if err != nil {
		return err
	}
	if len(in.Password) > notes.MaxPassword || !notes.ValidText(in.Email) {
		return errInputFormat
	}
	u, err := s.accounts.SignIn(x.ctx, &x.out, s.client(x), in)
	if err != nil {
		return err
	}
	return x.data(http.StatusOK, welcome{userOutput(u), "Logged in successfully"})
}

// logout handles POST /api/auth/logout, with or without a session.
func logout(s *Server, x *exchange) error {
	if err := s.accounts.SignOut(x.ctx, &x.out, s.client(x)); err != nil {
		return err
	}
	// "storage" is not cleared, because an app may keep text there that it could not send yet.
	x.out.Header().Set("Clear-Site-Data", `"cache"`)
	return x.message("Logged out successfully")
}

// me handles GET /api/auth/me.
func me(s *Server, x *exchange) error {
	if x.user == "" {
		return errNobody
	}
	u, err := s.store.User(x.ctx, x.user)
	if errors.Is(err, store.ErrNotFound) {
		return errNobody
	}
	if err != nil {
		return err
	}
	return x.data(http.StatusOK, welcome{User: userOutput(u)})
}
