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
)

// introduce says which program this is and with which settings it runs: on a
// terminal those that differ from the default, else all. What goes wrong comes below.
func (p Process) introduce(cfg config.Config) {
	if cfg.LogFormat == "json" {
		return // announce has them
	}
	fmt.Fprintf(p.Out, "notesd %s, %s, %s\n\n", p.version(), cfg.Env, store.EngineOf(cfg.DatabaseURL.Reveal()))
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

// announce says where the server listens and what to try.
func (p Process) announce(cfg config.Config, db *store.Store, ln net.Listener, log *slog.Logger) {
	port := ln.Addr().(*net.TCPAddr).Port // BACKEND_PORT=0 takes any
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

// statusLink is where the status page is. On a terminal, where people look and no log is kept, a token that was made in
// the data directory is part of it.
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

// shownHost is how people should reach a server on this machine that listens on
// host. The cookies of localhost, the site of the default CORS_ORIGIN, do not come from 127.0.0.1.
func shownHost(host string) string {
	if host = reachable(host); host == "127.0.0.1" || host == "::1" {
		return "localhost"
	}
	return host
}
