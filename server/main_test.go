package server

import (
	"testing"

	"notesd/store/storetest"
)

// shippedParams are passwordParams as they ship.
var shippedParams = passwordParams

// TestMain has most tests hash passwords for less: under the race detector a hash as they are
// shipped takes a second of a core on a busy machine, and nearly every test signs somebody up.
func TestMain(m *testing.M) {
	passwordParams.Memory, passwordParams.Iterations = 2048, 1
	storetest.Main(m)
}
