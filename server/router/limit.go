package router

import (
	"strconv"

	"notesd/internal/ratelimit"
)

// appendLimit appends the state of the client's rate limit, as lines of headers.
func appendLimit(lines []byte, d ratelimit.Decision) []byte {
	lines = appendNumber(lines, "Ratelimit-Limit: ", d.Limit)
	lines = appendNumber(lines, "Ratelimit-Remaining: ", d.Remaining)
	return appendNumber(lines, "Ratelimit-Reset: ", seconds(d.Reset))
}

func appendNumber(lines []byte, name string, n int) []byte {
	return append(strconv.AppendInt(append(lines, name...), int64(n), 10), "\r\n"...)
}
