package store_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"notesd/store"
	"notesd/store/storetest"
)

func TestTOTP(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := mustUser(t, s, "somebody@example.org")
		want := func(what string, got, want error) {
			t.Helper()
			if !errors.Is(got, want) {
				t.Errorf("%s = %v, want %v", what, got, want)
			}
		}
		_, err := s.TOTP(ctx, u.ID)
		want("TOTP before it was begun", err, store.ErrNotFound)
		first := store.TOTP{UserID: u.ID, Secret: []byte{0, 1, 255}, KeyID: "a"}
		second := store.TOTP{UserID: u.ID, Secret: []byte{0, 2, 255}, KeyID: "b"}
		want("BeginTOTP of nobody", s.BeginTOTP(ctx, store.TOTP{UserID: "none", Secret: []byte{1}}), store.ErrOwnerGone)
		want("BeginTOTP", s.BeginTOTP(ctx, first), nil)
		want("BeginTOTP again", s.BeginTOTP(ctx, second), nil)
		want("UseTOTPStep before it is confirmed", s.UseTOTPStep(ctx, u.ID, 7), store.ErrCodeUsed)
		hashes := [][]byte{{1}, {2}, {3}}
		want("ConfirmTOTP of a replaced secret", s.ConfirmTOTP(ctx, first, 7, hashes), store.ErrCodeUsed)
		want("ConfirmTOTP", s.ConfirmTOTP(ctx, second, 7, hashes), nil)
		want("ConfirmTOTP again", s.ConfirmTOTP(ctx, second, 8, hashes), store.ErrCodeUsed)
		want("BeginTOTP while it is on", s.BeginTOTP(ctx, first), store.ErrTOTPOn)
		got, err := s.TOTP(ctx, u.ID)
		if err != nil || !slices.Equal(got.Secret, second.Secret) || got.KeyID != "b" || got.ConfirmedAt.IsZero() || got.LastStep != 7 {
			t.Errorf("TOTP = %+v, %v", got, err)
		}

		want("UseTOTPStep of the step that confirmed", s.UseTOTPStep(ctx, u.ID, 7), store.ErrCodeUsed)
		want("UseTOTPStep", s.UseTOTPStep(ctx, u.ID, 9), nil)
		want("UseTOTPStep of an earlier step", s.UseTOTPStep(ctx, u.ID, 8), store.ErrCodeUsed)
		want("UseRecoveryCode", s.UseRecoveryCode(ctx, u.ID, []byte{2}), nil)
		want("UseRecoveryCode again", s.UseRecoveryCode(ctx, u.ID, []byte{2}), store.ErrCodeUsed)
		if n, err := s.RecoveryCodes(ctx, u.ID); n != 2 || err != nil {
			t.Errorf("RecoveryCodes = %d, %v, want 2", n, err)
		}

		older, err := s.OlderTOTPs(ctx, "c", "", 10)
		if err != nil || len(older) != 1 || older[0].UserID != u.ID {
			t.Errorf("OlderTOTPs = %v, %v, want one", older, err)
		}
		want("ReplaceTOTPSecret", s.ReplaceTOTPSecret(ctx, got, []byte{9}, "c"), nil)
		want("ReplaceTOTPSecret of a replaced one", s.ReplaceTOTPSecret(ctx, got, []byte{10}, "d"), nil)
		if got, err := s.TOTP(ctx, u.ID); err != nil || got.KeyID != "c" || got.LastStep != 9 {
			t.Errorf("TOTP under another key = %+v, %v", got, err)
		}
		if older, err := s.OlderTOTPs(ctx, "c", "", 10); err != nil || len(older) != 0 {
			t.Errorf("OlderTOTPs of the key in use = %v, %v", older, err)
		}

		want("RemoveTOTP", s.RemoveTOTP(ctx, u.ID), nil)
		want("RemoveTOTP again", s.RemoveTOTP(ctx, u.ID), nil)
		if n, err := s.RecoveryCodes(ctx, u.ID); n != 0 || err != nil {
			t.Errorf("RecoveryCodes after RemoveTOTP = %d, %v", n, err)
		}
	})
}

// A code passes once, however many ask at once, on two stores of one database.
func TestCodeAtOnce(t *testing.T) {
	url := storetest.Postgres(t)
	stores := []*store.Store{storetest.Open(t, url), storetest.Open(t, url)}
	u := mustUser(t, stores[0], "somebody@example.org")
	secret := store.TOTP{UserID: u.ID, Secret: []byte{1}, KeyID: "a"}
	if err := errors.Join(stores[0].BeginTOTP(t.Context(), secret),
		stores[0].ConfirmTOTP(t.Context(), secret, 1, [][]byte{{7}})); err != nil {
		t.Fatal(err)
	}
	for name, use := range map[string]func(s *store.Store) error{
		"UseTOTPStep":     func(s *store.Store) error { return s.UseTOTPStep(t.Context(), u.ID, 2) },
		"UseRecoveryCode": func(s *store.Store) error { return s.UseRecoveryCode(t.Context(), u.ID, []byte{7}) },
	} {
		var running sync.WaitGroup
		var passed atomic.Int64
		for i := range 16 {
			running.Go(func() {
				if err := use(stores[i%2]); err == nil {
					passed.Add(1)
				} else if !errors.Is(err, store.ErrCodeUsed) {
					t.Errorf("%s = %v", name, err)
				}
			})
		}
		running.Wait()
		if passed.Load() != 1 {
			t.Errorf("%s has succeeded %d times, want once", name, passed.Load())
		}
	}
}
