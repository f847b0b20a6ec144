package auth

import (
	"testing"

	"notesd/internal/testserver"
)

// shippedParams are PasswordParams as they ship.
var shippedParams = PasswordParams

// TestMain has tests hash passwords for less. TestPasswordParams has the parameters that ship.
func TestMain(m *testing.M) {
	PasswordParams.Memory, PasswordParams.Iterations = 2048, 1
	testserver.Main(m)
}

const password = "correct horse"
