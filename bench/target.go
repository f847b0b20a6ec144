package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// lookTime is how long a server may take to respond to the first request.
const lookTime = 3 * time.Second

// site is a server that is already running.
type site struct {
	url  string // as given, without a path
	host string // the Host header
	addr netip.AddrPort
}

// checkTarget finds the server at the URL text. It refuses a server on another machine unless
// remote is true, a server that does not respond, and a server that is not notesd.
func checkTarget(ctx context.Context, text string, remote bool) (site, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	s, err := parseTarget(text)
	if err != nil {
		return site{}, err
	}
	if s.addr, err = resolve(ctx, s.host); err != nil {
		return site{}, fmt.Errorf("-url %s: %w", text, err)
	}
	if !s.addr.Addr().IsLoopback() && !remote {
		return site{}, fmt.Errorf("-url %s is not on this machine, and a load test of somebody else's server is an "+
			"attack: -allow-remote says that you may", text)
	}
	return s, s.look(ctx)
}

func parseTarget(text string) (site, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" {
		return site{}, fmt.Errorf("-url %s is not like http://127.0.0.1:3001 (https and paths are not for load tests)",
			text)
	}
	return site{url: "http://" + u.Host, host: u.Host}, nil
}

// resolve returns the one address that every connection goes to. So the server that was checked is
// the one that is measured.
func resolve(ctx context.Context, host string) (netip.AddrPort, error) {
	u := url.URL{Host: host}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(addrs) == 0 {
		return netip.AddrPort{}, errors.New("no address")
	}
	first := addrs[0].Unmap()
	// For localhost, ::1 comes first even if the server listens on 127.0.0.1.
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			first = a
			break
		}
	}
	return netip.ParseAddrPort(net.JoinHostPort(first.String(), port))
}

// look returns an error if no notesd responds.
func (s site) look(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr.String()+"/api/health", nil)
	if err != nil {
		return err
	}
	r.Host = s.host
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("no server answers at %s: %w", s.url, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("no server answers at %s: %w", s.url, err)
	}
	if answer.StatusCode != http.StatusOK || !strings.Contains(string(text), `"API is healthy"`) {
		return fmt.Errorf("the server at %s is not notesd: GET /api/health = %s: %.100q", s.url, answer.Status, text)
	}
	return nil
}
