package auth

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// Each app token is new, and looks like one.
func TestNewAppToken(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		token, hash := newAppToken()
		if !isAppToken(token) || seen[token] || len(hash) != 32 || strings.Contains(string(hash), token) {
			t.Fatalf("newAppToken() = %q, %x", token, hash)
		}
		seen[token] = true
	}
}

// What is read from an Authorization header is a well-formed token or none, and what a client sends is read.
func FuzzReadAuthorization(f *testing.F) {
	token, _ := newAppToken()
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, header := range []string{"", "Bearer", "Bearer " + token, "bearer  " + token + " ", basic("ada@example.com:" + token),
		basic(token), basic(":" + token), basic("a:b:" + token), "Basic " + token, "Basic =", "Basic ====", "Digest " + token,
		"Bearer " + strings.Repeat("a", 5000), basic(strings.Repeat("ж", 2000) + ":" + token), "Bearer\t" + token, "Basic \xff:\x00"} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		given, there := readAuthorization(http.Header{"Authorization": {header}})
		if !there {
			t.Errorf("%q: there is no header", header)
		}
		if given.token != "" && !isAppToken(given.token) || given.token == "" && given != (givenToken{}) {
			t.Errorf("%q gives %+v", header, given)
		}
		if len(given.email) > maxBasic || given.email != "" && !given.basic {
			t.Errorf("%q gives %+v", header, given)
		}
		given.fits("ada@example.com")
		// Whatever the address is, if it is one.
		if email := header; notes.ValidText(email) && len(email) <= notes.MaxImportedEmail && !strings.Contains(email, ":") {
			given, _ := readAuthorization(http.Header{"Authorization": {basic(email + ":" + token)}})
			if given != (givenToken{token: token, basic: true, email: email}) || !given.fits(email) {
				t.Errorf("Basic with the address %q gives %+v", email, given)
			}
		}
		if given, there := readAuthorization(http.Header{"Authorization": {"Bearer " + token, header}}); !there || given.token != "" {
			t.Errorf("two headers give %+v", given)
		}
	})
}

// The time that a wrong token costs, once too many came from the address, is that of a look in memory.
func TestWrongTokensCheck(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		a := newAccounts(t, db)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		limited := 0
		for i := range 200 {
			r.Header.Set("Authorization", fmt.Sprintf("Bearer notesd_%s%s", strings.Repeat("a", 30), string([]byte{'a' + byte(i%26), 'a' + byte(i/26)})))
			who, err := a.Authenticate(t.Context(), r, fmt.Sprintf("2001:db8::%d", i)) // one network
			if who.UserID != "" {
				t.Fatalf("a wrong token is %v", who)
			}
			if err != nil {
				limited++
			}
		}
		if limited != 150 {
			t.Errorf("%d of 200 wrong tokens were limited, want 150", limited)
		}
		u, err := db.CreateUser(t.Context(), "ada@example.com", "ada", "no hash")
		if err != nil {
			t.Fatal(err)
		}
		_, token, err := a.MakeToken(t.Context(), someClient(), store.AppToken{UserID: u.ID, Name: "script", ExpiresAt: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if got := a.Hint(r); got != u.ID {
			t.Errorf("Hint() = %q, want the user of the token", got)
		}
		for _, address := range []string{"2001:db8::1", "192.0.2.1"} { // the process has made it
			if who, err := a.Authenticate(t.Context(), r, address); who.UserID != u.ID || who.Token.Name != "script" || err != nil {
				t.Errorf("Authenticate() = %v, %v", who, err)
			}
		}
		if who := a.Cached(r); who.UserID != u.ID || who.Token.Name != "script" {
			t.Errorf("Cached() = %v", who)
		}
		other := newAccounts(t, db) // where the token was never seen, and the network is not limited
		if who, err := other.Authenticate(t.Context(), r, "2001:db8::1"); who.UserID != u.ID || err != nil {
			t.Errorf("Authenticate() = %v, %v", who, err)
		}
	})
}
