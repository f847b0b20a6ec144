package router

import (
	"net/http"
	"strconv"

	"notesd/internal/ratelimit"
)

// writeLimitHeaders writes the state of the client's rate limit into response headers.
func writeLimitHeaders(h http.Header, d ratelimit.Decision) {
	h.Set("RateLimit-Limit", strconv.Itoa(d.Limit))
	h.Set("RateLimit-Remaining", strconv.Itoa(d.Remaining))
	h.Set("RateLimit-Reset", strconv.Itoa(seconds(d.Reset)))
	if !d.Allowed {
		h.Set("Retry-After", strconv.Itoa(seconds(d.RetryAfter)))
	}
}
