package testkit

import (
	"log/slog"
	"testing"
)

// Log returns a logger whose warnings and errors are shown with the test's output.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
