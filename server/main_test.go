package server

import (
	"testing"

	"notesd/internal/testserver"
	"notesd/server/auth"
)

// TestMain has tests hash passwords for less: nearly every one signs somebody up, and on a busy
// machine hashes as they ship were most of what the package took.
func TestMain(m *testing.M) {
	auth.PasswordParams.Memory, auth.PasswordParams.Iterations = 2048, 1
	testserver.Main(m)
}
