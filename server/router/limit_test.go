package router

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/internal/ratelimit"
)

func TestLimitHeaders(t *testing.T) {
	for _, test := range []struct {
		name string
		d    ratelimit.Decision
		want http.Header
	}{
		{"allowed", ratelimit.Decision{Allowed: true, Limit: 1000, Remaining: 999, Reset: 60 * time.Millisecond},
			http.Header{"Ratelimit-Limit": {"1000"}, "Ratelimit-Remaining": {"999"}, "Ratelimit-Reset": {"1"}}},
		{"refused", ratelimit.Decision{Limit: 10, Reset: time.Minute, RetryAfter: 5001 * time.Millisecond},
			http.Header{"Ratelimit-Limit": {"10"}, "Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"60"}, "Retry-After": {"6"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := http.Header{}
			writeLimitHeaders(got, test.d)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("writeLimitHeaders() (-want +got):\n%s", diff)
			}
		})
	}
}
