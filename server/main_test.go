package server

import (
	"testing"

	"notesd/internal/testserver"
)

// shippedParams are passwordParams as they ship.
var shippedParams = passwordParams

// TestMain has tests hash passwords for less: nearly every one signs somebody up, and on a busy
// machine hashes as they ship were most of what the package took. TestPasswordParams has the
// parameters that ship.
func TestMain(m *testing.M) {
	passwordParams.Memory, passwordParams.Iterations = 2048, 1
	testserver.Main(m)
}
