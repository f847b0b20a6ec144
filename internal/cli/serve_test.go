package cli

import (
	"context"
	"net/http"
	"regexp"
	"testing"
	"time"
)

// A server with an environment of its own serves until its context ends, and then returns.
func TestServe(t *testing.T) {
	t.Chdir(t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	said := make(announcement)
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, Process{Environ: []string{"BACKEND_PORT=0", "LOG_LEVEL=warn"}, Out: said}, nil)
	}()

	url := ""
	for url == "" {
		select {
		case line := <-said:
			if m := regexp.MustCompile(`Listening on (\S+)`).FindStringSubmatch(line); m != nil {
				url = m[1]
			}
		case err := <-ended:
			t.Fatalf("Serve() = %v before it listened", err)
		}
	}
	go func() {
		for range said { // what it says later
		}
	}()
	answer, err := http.Get(url + "/api/health")
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("health = %d, %v, want 200", answer.StatusCode, err)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Serve() = %v, want nil", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve() goes on when its context has ended")
	}
	close(said)
}

// announcement is a writer that hands over what is written.
type announcement chan string

func (a announcement) Write(p []byte) (int, error) {
	a <- string(p)
	return len(p), nil
}
