package cli

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"

	"notesd/config"
	"notesd/internal/logging"
	"notesd/store"
	"notesd/store/engine"
)

// introduce prints the version and the settings. On a terminal it prints the settings that differ
// from their defaults, and otherwise all of them. It runs first, so that errors of the start are
// printed below it.
func (p Process) introduce(cfg config.Config) {
	if cfg.LogFormat == "json" {
		return // announce logs the settings
	}
	fmt.Fprintf(p.Out, "notesd %s, %s, %s\n\n", p.version(), cfg.Env, engine.Of(cfg.DatabaseURL.Reveal()))
	settings := cfg.Settings()
	if p.onTerminal() {
		settings = cfg.Changed()
	}
	for _, s := range settings {
		fmt.Fprintf(p.Out, "  %-26s %-40s %s\n", s.Name, logging.Printable(s.Value), s.Source)
	}
	if p.onTerminal() {
		fmt.Fprint(p.Out, "  All other settings have their defaults (docs/CONFIGURATION.md).\n")
	}
	fmt.Fprintln(p.Out)
}

// announce prints where the server listens and a command to try.
func (p Process) announce(cfg config.Config, db *store.Store, ln net.Listener, log *slog.Logger) {
	port := ln.Addr().(*net.TCPAddr).Port // with BACKEND_PORT=0 the kernel chooses it
	url := "http://" + net.JoinHostPort(shownHost(cfg.Host), strconv.Itoa(port))
	if cfg.LogFormat == "json" {
		attrs := []any{"url", url, "version", p.version(), "engine", db.Engine()}
		for _, s := range cfg.Settings() {
			attrs = append(attrs, s.Name, s.Value)
		}
		log.Info("listening", attrs...)
		return
	}
	if abs, err := filepath.Abs(cfg.DataDir); err == nil && db.Engine() == "SQLite" {
		fmt.Fprintf(p.Out, "Data is kept in %s.\n", logging.Printable(abs))
	}
	fmt.Fprintf(p.Out, "Listening on %s\nTry:  curl %s/api/health\n", url, url)
	fmt.Fprintf(p.Out, "Status page: %s\n\n", p.statusLink(cfg, url))
}

// statusLink returns the link to the status page. The link contains a token that was generated in
// the data directory, but on a terminal only: other output is kept as a log.
func (p Process) statusLink(cfg config.Config, url string) string {
	made := config.KeptAdminToken(cfg.DataDir)
	switch {
	case cfg.AdminToken == "":
		return url + "/status (there is no token for it: set ADMIN_TOKEN)"
	case made == "" || made != cfg.AdminToken:
		return url + "/status (the token is ADMIN_TOKEN)"
	case p.onTerminal():
		return url + "/status#token=" + made.Reveal()
	}
	return url + "/status (the token is in " + config.AdminTokenFile(cfg.DataDir) + ")"
}

// shownHost returns the name by which users should reach a server on this machine that listens on
// host. It prefers localhost, which is the site of the default CORS_ORIGIN: a browser does not send
// the cookies of localhost to 127.0.0.1.
func shownHost(host string) string {
	if host = reachable(host); host == "127.0.0.1" || host == "::1" {
		return "localhost"
	}
	return host
}
