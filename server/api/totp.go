package api

import (
	"errors"
	"net/http"

	"notesd/notes"
	"notesd/server/auth"
	"notesd/server/router"
)

// errWrongCode is the error of a wrong code at the set-up. It is no 401: the user is signed in.
var errWrongCode = &router.Error{Status: http.StatusBadRequest, Code: "totp_invalid",
	Message: "Wrong code: is the clock of the phone right?"}

// totpStatus handles GET /api/auth/totp.
func (a *API) totpStatus(c *router.Context) error {
	status, err := a.accounts.TOTPStatus(c.Context(), c.UserID())
	if err != nil {
		return err
	}
	return c.Data(http.StatusOK, struct {
		On            bool `json:"on"`
		RecoveryCodes int  `json:"recoveryCodes"`
	}{status.On, status.RecoveryCodes})
}

// beginTOTP handles POST /api/auth/totp.
func (a *API) beginTOTP(c *router.Context) error {
	setup, err := a.accounts.BeginTOTP(c.Context(), c.UserID())
	if err != nil {
		return err
	}
	image, err := auth.QRCode(setup.URL)
	if err != nil {
		return err
	}
	return c.Data(http.StatusOK, struct {
		Secret string `json:"secret"`
		URL    string `json:"url"`
		QRCode string `json:"qrCode"`
	}{setup.Secret, setup.URL, image})
}

// confirmTOTP handles POST /api/auth/totp/confirm.
func (a *API) confirmTOTP(c *router.Context) error {
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	code, ok := o.Text("code")
	if !ok {
		return errInputFormat
	}
	recovery, err := a.accounts.ConfirmTOTP(c.Context(), client(c), c.UserID(), code)
	if errors.Is(err, auth.ErrTOTPInvalid) {
		return errWrongCode
	}
	if err != nil {
		return err
	}
	return writeRecoveryCodes(c, recovery)
}

func writeRecoveryCodes(c *router.Context, codes []string) error {
	return c.Data(http.StatusOK, struct {
		RecoveryCodes []string `json:"recoveryCodes"`
	}{codes})
}

// replaceRecoveryCodes handles POST /api/auth/totp/recovery.
func (a *API) replaceRecoveryCodes(c *router.Context) error {
	in, err := readConfirmation(c)
	if err != nil {
		return err
	}
	recovery, err := a.accounts.ReplaceRecoveryCodes(c.Context(), client(c), c.UserID(), in)
	if err != nil {
		return err
	}
	return writeRecoveryCodes(c, recovery)
}

// removeTOTP handles DELETE /api/auth/totp.
func (a *API) removeTOTP(c *router.Context) error {
	in, err := readConfirmation(c)
	if err != nil {
		return err
	}
	if err := a.accounts.RemoveTOTP(c.Context(), client(c), c.UserID(), in); err != nil {
		return err
	}
	return c.Message("Codes are off")
}

// readConfirmation reads the body of a request that a user confirms with the password, and with a
// code if the account needs one.
func readConfirmation(c *router.Context) (auth.Credentials, error) {
	o, err := c.ReadObject()
	if err != nil {
		return auth.Credentials{}, err
	}
	password, okPassword := o.Text("password")
	code, okCode := readCode(o)
	if !okPassword || !okCode || len(password) > notes.MaxPassword {
		return auth.Credentials{}, errInputFormat
	}
	return auth.Credentials{Password: password, Code: code}, nil
}
