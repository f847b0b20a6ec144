package auth

import "testing"

const testSecret = "a secret of at least thirty-two bytes"

func TestKeyedHash(t *testing.T) {
	one := keyedHash([]byte("secret"), "session", "text")
	for name, other := range map[string]string{
		"secret":  keyedHash([]byte("secret 2"), "session", "text"),
		"purpose": keyedHash([]byte("secret"), "rate", "text"),
		"text":    keyedHash([]byte("secret"), "session", "text 2"),
		"border":  keyedHash([]byte("secret"), "sessiont", "ext"),
	} {
		if other == one {
			t.Errorf("another %s, the same hash %s", name, one)
		}
	}
	if again := keyedHash([]byte("secret"), "session", "text"); again != one || len(one) != 64 {
		t.Errorf("keyedHash() = %s and %s, want twice the same 64 hexadecimal digits", one, again)
	}
}
