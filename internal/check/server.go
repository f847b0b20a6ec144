package check

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxResponse bounds how much of a response is read, in bytes.
const maxResponse = 8 << 20

// inspectServer examines the running server twice, to see what happens in between.
func inspectServer(ctx context.Context, c Config) *Server {
	s := &Server{URL: c.Server, Given: c.ServerGiven}
	status, _, err := get(ctx, c.Server+"/api/health", "")
	if err != nil {
		s.Err = oneLine(err)
		return s
	}
	s.Alive = status == http.StatusOK
	status, text, err := get(ctx, c.Server+"/readyz", "")
	s.Ready = err == nil && status == http.StatusOK
	s.Down = downIn(text)
	first, err := s.look(ctx, c.AdminToken)
	if err != nil {
		s.RuntimeErr = oneLine(err)
		return s
	}
	s.Runtime = first
	if c.Measure > 0 {
		s.measure(ctx, c)
	}
	return s
}

// look reads /api/runtime, and the CPU time that the process has used.
func (s *Server) look(ctx context.Context, token string) (*Runtime, error) {
	status, text, err := get(ctx, s.URL+"/api/runtime", token)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s/api/runtime answers %d", s.URL, status)
	}
	r, err := parseRuntime(text)
	if err != nil {
		return nil, err
	}
	if status, text, err := get(ctx, s.URL+"/metrics", token); err == nil && status == http.StatusOK {
		s.CPU = cpuIn(string(text))
	}
	return r, nil
}

// measure examines the server again after a while.
func (s *Server) measure(ctx context.Context, c Config) {
	before, cpu := s.Runtime, s.CPU
	select {
	case <-time.After(c.Measure):
	case <-ctx.Done():
		return
	}
	after, err := s.look(ctx, c.AdminToken)
	if err != nil || !after.Started.Equal(before.Started) {
		return // the server has ended meanwhile
	}
	s.Runtime = after
	s.Recent = &Recent{Over: after.Now.Sub(before.Now), CPU: s.CPU - cpu, Requests: after.Pool.Done - before.Pool.Done,
		Waits: after.waits() - before.waits()}
}

func get(ctx context.Context, url, token string) (status int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(io.LimitReader(answer.Body, maxResponse))
	return answer.StatusCode, text, err
}

// downIn returns the names of the dependencies that a response of /readyz reports as not up.
func downIn(text []byte) (down []string) {
	var answer struct {
		Checks []struct{ Name, Status string } `json:"checks"`
	}
	_ = json.Unmarshal(text, &answer) // the response's status says enough
	for _, row := range answer.Checks {
		if row.Status != "up" {
			down = append(down, row.Name+" "+row.Status)
		}
	}
	return down
}

// cpuIn reads the seconds of CPU time from Prometheus's text format.
func cpuIn(text string) float64 {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, "process_cpu_seconds_total "); found {
			seconds, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return seconds
		}
	}
	return 0
}
