package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// Of 10 000 wrong passwords, tokens and codes from 100 addresses few are compared: a password takes
// 20 ms and 19 MiB. Whom they are aimed at still gets in, with all three.
func TestGuesses(t *testing.T) {
	long(t, "it guesses 10 000 times")
	const (
		guesses, addresses, atOnce = 10_000, 100, 8
		maxCPU                     = 20 * time.Second // a tenth of what all these passwords would take
		maxMemory                  = 200 << 20
	)
	p := newUnraced(t, "LOG_LEVEL=error", "TRUSTED_PROXIES=127.0.0.1/32", "RATE_LIMIT_MAX_REQUESTS=0", secret)
	p.start()
	p.awaitReady()
	ada, bob := p.member("ada@example.com"), p.member("bob@example.com")
	var begun struct {
		Data struct{ Secret, Token string }
	}
	ada.post("/api/auth/tokens", map[string]any{"name": "script", "scope": "read"}).want(http.StatusCreated).decode(&begun)
	token := begun.Data.Token
	bob.post("/api/auth/totp", nil).want(http.StatusOK).decode(&begun)
	code := func(ahead time.Duration) string {
		text, err := totp.GenerateCode(begun.Data.Secret, time.Now().Add(ahead))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	bob.post("/api/auth/totp/confirm", map[string]any{"code": code(-30 * time.Second)}).want(http.StatusOK)

	var in atomic.Int64
	var running sync.WaitGroup
	for worker := range atOnce {
		running.Go(func() {
			c := p.visitor()
			for i := worker; i < guesses; i += atOnce {
				path, body, headers := "/api/auth/login", map[string]any{}, []string{"X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i%addresses)}
				switch i % 3 {
				case 0:
					body = map[string]any{"email": "ada@example.com", "password": fmt.Sprint("wrong password ", i)}
				case 1:
					body = map[string]any{"email": "bob@example.com", "password": password, "totp": fmt.Sprintf("%06dx", i)}
				case 2:
					path, headers = "/api/notes", append(headers, "Authorization", fmt.Sprintf("Bearer notesd_%032d", i))
				}
				r, err := c.try(http.MethodPost, path, body, headers...)
				switch {
				case err != nil:
					t.Error(err)
				case r.status < 300:
					in.Add(1)
				case r.status != http.StatusUnauthorized && r.status != http.StatusLocked && r.status != http.StatusTooManyRequests &&
					r.status != http.StatusServiceUnavailable:
					t.Errorf("%s = %d %s", r.call, r.status, r.text)
				}
			}
		})
	}
	running.Wait()
	if n := in.Load(); n > 0 {
		t.Errorf("%d guesses got in", n)
	}
	ada.post("/api/auth/login", map[string]any{"email": "ada@example.com", "password": password}).want(http.StatusOK)
	bob.post("/api/auth/login", map[string]any{"email": "bob@example.com", "password": password, "totp": code(0)}).want(http.StatusOK)
	p.visitor().call(http.MethodGet, "/api/notes", nil, "Authorization", "Bearer "+token).want(http.StatusOK)
	p.signal(syscall.SIGTERM)
	ended := p.wait(time.Minute)
	memory := ended.SysUsage().(*syscall.Rusage).Maxrss << 10
	if cpu := ended.UserTime() + ended.SystemTime(); cpu > maxCPU || memory > maxMemory {
		t.Errorf("the guesses took %v of CPU and %d MB, want at most %v and %d MB", cpu, memory>>20, maxCPU, maxMemory>>20)
	} else {
		t.Logf("%v of CPU, %d MB", cpu, memory>>20)
	}
}
