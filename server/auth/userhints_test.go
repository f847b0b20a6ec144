package auth

import (
	"fmt"
	"testing"
)

// Tokens that are asked for stay known, others are forgotten once there are
// too many.
func TestUserHintsAreBounded(t *testing.T) {
	h := newUserHints()
	h.add("kept", "ada")
	h.add("not asked for", "bob")
	for i := range 3 * maxUserHints {
		h.add(fmt.Sprint(i), "cyd")
		if i%1000 == 0 && h.lookup("kept") != "ada" {
			t.Fatalf("after %d others the token is forgotten", i)
		}
	}
	if n := len(h.young) + len(h.old); n > 2*maxUserHints {
		t.Errorf("%d tokens are known, want at most %d", n, 2*maxUserHints)
	}
	if got := h.lookup("not asked for"); got != "" {
		t.Errorf("lookup() = %q, want that it is forgotten", got)
	}
}
