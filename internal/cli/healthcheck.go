package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"notesd/config"
)

const healthcheckTime = 3 * time.Second

// Healthcheck asks the server on this machine whether it is ready. It is for containers, which
// have no curl.
func Healthcheck(ctx context.Context, p Process, args []string) error {
	err := p.noArguments("notesd healthcheck\nExits with 0 if the server on this machine is ready, with 1 if not.",
		args)
	if err != nil {
		return err
	}
	cfg, err := config.Load(p.Environ)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTime)
	defer cancel()
	url := "http://" + net.JoinHostPort(reachable(cfg.Host), strconv.Itoa(cfg.Port)) + "/readyz"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(text)))
	}
	fmt.Fprintln(p.Out, "ready")
	return nil
}

// reachable returns the address at which this machine reaches a server that listens on host.
func reachable(host string) string {
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		return "127.0.0.1"
	}
	return host
}
