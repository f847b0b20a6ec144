package router

import (
	"testing"
	"time"

	"notesd/internal/ratelimit"
)

func TestLimitHeaders(t *testing.T) {
	for want, d := range map[string]ratelimit.Decision{
		"Ratelimit-Limit: 1000\r\nRatelimit-Remaining: 999\r\nRatelimit-Reset: 1\r\n": {Allowed: true, Limit: 1000,
			Remaining: 999, Reset: 60 * time.Millisecond},
		"Ratelimit-Limit: 10\r\nRatelimit-Remaining: 0\r\nRatelimit-Reset: 60\r\n": {Limit: 10, Reset: time.Minute,
			RetryAfter: 5001 * time.Millisecond},
	} {
		if got := appendLimit(nil, d); string(got) != want {
			t.Errorf("appendLimit() = %q, want %q", got, want)
		}
	}
}
