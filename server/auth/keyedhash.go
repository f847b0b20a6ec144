package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// keyedHash returns the HMAC of text under secret, in hexadecimal. Equal texts have equal hashes.
// Without the secret, the text can be neither read from the hash nor guessed by trial. Hashes for
// one purpose reveal nothing about those for another.
func keyedHash(secret []byte, purpose, text string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(purpose))
	mac.Write([]byte{0})
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}
