package auth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"notesd/store"
)

// A cookie of another account, of before a reset, or of nobody is none.
func TestDeviceCookie(t *testing.T) {
	devices := devices{[]string{testSecret}}
	u := store.User{ID: "ada", SessionEpoch: 7}
	w := httptest.NewRecorder()
	devices.remember(w, httptest.NewRequest(http.MethodPost, "/", nil), u, true)
	var device *http.Cookie
	for _, c := range w.Result().Cookies() {
		device = c
	}
	if device == nil || device.Name != "notesd_device" || !device.HttpOnly || !device.Secure || device.SameSite != http.SameSiteStrictMode || device.Path != "/api/auth" ||
		device.MaxAge != 365*24*60*60 {
		t.Fatalf("remember() sets %v, want notesd_device; Path=/api/auth; Max-Age=31536000; HttpOnly; Secure; SameSite=Strict", device)
	}
	request := func(value string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Cookie", "notesd_device="+value)
		return r
	}
	nonce, sign, _ := strings.Cut(device.Value, ".")
	reset := u
	reset.SessionEpoch++
	for _, tt := range []struct {
		name, value string
		known       bool
		of          string
	}{
		{"it", device.Value, true, u.ID},
		{"behind garbage", "garbage; notesd_device=" + device.Value, true, u.ID},
		{"another's", device.Value, false, "bob"},
		{"another nonce", strings.Repeat("A", len(nonce)) + "." + sign, false, u.ID},
		{"cut", device.Value[:len(device.Value)-1], false, u.ID},
		{"no seal", nonce + ".", false, u.ID},
		{"no nonce", "." + sign, false, u.ID},
		{"empty", "", false, u.ID},
		{"huge", strings.Repeat("A", 50_000), false, u.ID},
	} {
		of := u
		of.ID = tt.of
		if got := devices.nonce(request(tt.value), of); (got == nonce) != tt.known || !tt.known && got != "" {
			t.Errorf("%s: nonce() = %q, want known: %t", tt.name, got, tt.known)
		}
	}
	if got := devices.nonce(request(device.Value), reset); got != "" {
		t.Errorf("after a reset: nonce() = %q, want none", got)
	}
}

func TestLockedFor(t *testing.T) {
	tests := []struct {
		wait time.Duration
		want string
	}{
		{time.Millisecond, "Account locked. Try again in 1 minute."},
		{time.Minute, "Account locked. Try again in 1 minute."},
		{time.Minute + time.Millisecond, "Account locked. Try again in 2 minutes."},
		{15 * time.Minute, "Account locked. Try again in 15 minutes."},
	}
	for _, tt := range tests {
		var got *LockedError
		if err := lockedFor(tt.wait); !errors.As(err, &got) || got.Text != tt.want {
			t.Errorf("lockedFor(%v) = %v, want the text %q", tt.wait, err, tt.want)
		}
	}
}
