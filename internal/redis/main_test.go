package redis_test

import (
	"testing"

	"notesd/internal/testserver"
)

func TestMain(m *testing.M) { testserver.Main(m) }
