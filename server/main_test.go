package server

import (
	"testing"

	"notesd/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
