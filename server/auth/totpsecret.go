package auth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"

	"notesd/store"
)

// totpKeys encrypt the secrets of one-time codes, so that a copy of the database makes no codes. The
// first one encrypts, and all decrypt.
type totpKeys []totpKey

type totpKey struct {
	id   string
	aead cipher.AEAD
}

// newTOTPKeys derives the keys from the server's secrets.
func newTOTPKeys(secrets []string) (keys totpKeys) {
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, []byte(secret), nil, "notesd TOTP secrets", 32)
		if err != nil {
			panic(err) // only for a key that is too long
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			panic(err) // only for a key of another length
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			panic(err) // only for a cipher that is not AES
		}
		keys = append(keys, totpKey{TOTPKeyID(secret), aead})
	}
	return keys
}

// TOTPKeyID returns the id of the key that encrypts the secrets of one-time codes, if secret is the
// server's first one.
func TOTPKeyID(secret string) string { return keyedHash([]byte(secret), "TOTP key id", "")[:16] }

// errUndecryptable says that none of the keys decrypts a secret.
var errUndecryptable = errors.New("no SESSION_SECRET decrypts the TOTP secret")

// seal encrypts a user's secret.
func (k totpKeys) seal(userID string, secret []byte) store.TOTP {
	return store.TOTP{UserID: userID, Secret: k[0].aead.Seal(nil, nil, secret, []byte(userID)), KeyID: k[0].id}
}

// open decrypts a user's secret, or returns errUndecryptable.
func (k totpKeys) open(t store.TOTP) ([]byte, error) {
	for _, key := range k {
		if key.id != t.KeyID {
			continue
		}
		if secret, err := key.aead.Open(nil, nil, t.Secret, []byte(t.UserID)); err == nil {
			return secret, nil
		}
	}
	return nil, errUndecryptable
}

// renewedTOTPs is how many secrets RenewTOTP reads at once.
const renewedTOTPs = 100

// RenewTOTP encrypts all secrets of one-time codes under the first of the server's secrets, so that
// the others need not be kept. A secret that none of them decrypts stays as it is.
func (a *Accounts) RenewTOTP(ctx context.Context) {
	if a.store.WaitReady(ctx) != nil {
		return
	}
	renewed, lost, after := 0, 0, ""
	for {
		list, err := a.store.OlderTOTPs(ctx, a.totpKeys[0].id, after, renewedTOTPs)
		for _, t := range list {
			after = t.UserID
			secret, failed := a.totpKeys.open(t)
			if failed != nil {
				lost++
				continue
			}
			now := a.totpKeys.seal(t.UserID, secret)
			if err = a.store.ReplaceTOTPSecret(ctx, t, now.Secret, now.KeyID); err != nil {
				break
			}
			renewed++
		}
		if err != nil || len(list) < renewedTOTPs {
			if err != nil && ctx.Err() == nil {
				a.log.Warn("not all TOTP secrets were encrypted anew; the next start tries again", "error", err)
			}
			break
		}
	}
	if renewed > 0 {
		a.log.Info("TOTP secrets were encrypted anew under the first SESSION_SECRET", "count", renewed)
	}
	if lost > 0 {
		a.log.Warn("no SESSION_SECRET decrypts these TOTP secrets: "+
			"their users need a recovery code, or notesd user reset",
			"count", lost)
	}
}

// newTOTPSecret returns a random secret of the length that RFC 4226 recommends.
func newTOTPSecret() []byte {
	secret := make([]byte, 20)
	rand.Read(secret) // never fails
	return secret
}
