package server

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	maxLoggedHeader = 64 // bytes of a client's header in a log line
	noHeader        = "none"
)

// fromProxy tells whether a trusted proxy made the connection.
func (s *Server) fromProxy(r *http.Request) bool {
	if len(s.cfg.TrustedProxies) == 0 {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && s.isProxy(peer.Addr().Unmap())
}

func (s *Server) isProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// clientAddress is the address of the client that r came from. Of what is said about it only the parts that
// trusted proxies wrote are believed: from the last on, until one names an address that is no proxy's. What can't
// be read leaves the client at the last proxy before it, and comes back in unread: the header, or noHeader.
func (s *Server) clientAddress(r *http.Request) (addr, unread string) {
	if !s.fromProxy(r) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		return host, ""
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // fromProxy has read it
	at, unread := peer.Addr().Unmap(), noHeader
	header, nodes := forwardedNodes(r.Header)
	for _, node := range slices.Backward(nodes) {
		before, ok := parseNode(node)
		if !ok {
			unread = header + ": " + cut(node)
			break
		}
		at, unread = before, ""
		if !s.isProxy(at) {
			break
		}
	}
	return at.String(), unread
}

// forwardedNodes are whom the proxies say they were called by, the last proxy last, and the header they say it in:
// X-Forwarded-For, or without that Forwarded (RFC 7239), or without that X-Real-Ip. Only one of them is read, as a
// proxy that writes one lets clients write the others.
func forwardedNodes(h http.Header) (header string, nodes []string) {
	for _, header = range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
		if nodes = slices.Collect(members(h[header])); len(nodes) > 0 {
			break
		}
	}
	if header == "Forwarded" {
		for i, hop := range nodes {
			if node := forwardedParameter(hop, "for"); node != "" {
				nodes[i] = node
			}
		}
	}
	return header, nodes
}

// parseNode reads an address as proxies write it: with or without a port, brackets and quotes.
func parseNode(node string) (netip.Addr, bool) {
	node = unquote(node)
	if addr, err := netip.ParseAddr(node); err == nil { // first: an IPv6 address is full of what look like ports
		return addr.Unmap().WithZone(""), true
	}
	host, port := node, ""
	if i := strings.LastIndexByte(node, ':'); i > strings.LastIndexByte(node, ']') {
		host, port = node[:i], node[i+1:]
	}
	if strings.Trim(port, "0123456789") != "" {
		return netip.Addr{}, false
	}
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	if bracketed {
		host = host[1 : len(host)-1]
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Is4() == bracketed {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}

// forwardedProto is the scheme that the client used, in lower case, as the proxies say it; "": they don't. The first
// of several is that of the outermost proxy. A client that forges it misleads only itself.
func forwardedProto(h http.Header) string {
	proto := unquote(firstMember(h["X-Forwarded-Proto"]))
	return strings.ToLower(cmp.Or(proto, forwardedParameter(firstMember(h["Forwarded"]), "proto")))
}

// forwardedHost is the host that the client asked for, as the proxies say it; "": they don't.
func forwardedHost(h http.Header) string {
	host := unquote(firstMember(h["X-Forwarded-Host"]))
	return cmp.Or(host, forwardedParameter(firstMember(h["Forwarded"]), "host"))
}

// forwardedParameter is the parameter name of one proxy's part of Forwarded; "": it is not there.
func forwardedParameter(hop, name string) string {
	for pair := range strings.SplitSeq(hop, ";") {
		if key, value, _ := strings.Cut(pair, "="); strings.EqualFold(strings.TrimSpace(key), name) {
			return unquote(strings.TrimSpace(value))
		}
	}
	return ""
}

// members yields those of a list header, of all its lines, without blanks around them and without empty ones. Quotes
// hide no comma: a client could open one, and so hide what the proxy appends to the client's line.
func members(lines []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range lines {
			for member := range strings.SplitSeq(line, ",") {
				if member = strings.TrimSpace(member); member != "" && !yield(member) {
					return
				}
			}
		}
	}
}

// firstMember is the first member of a list header; "": it has none.
func firstMember(lines []string) string {
	for member := range members(lines) {
		return member
	}
	return ""
}

// unquote is text without the quotes around it, if it has them.
func unquote(text string) string {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return text
	}
	return text[1 : len(text)-1]
}

// unreadableHeaders remembers which of the warnings about trusted proxies have been logged: each is logged once.
type unreadableHeaders struct{ missing, client, proto atomic.Bool }

// warnUnreadClient says that x counts as a proxy, and no client of its own, because of what it does not say.
func (s *Server) warnUnreadClient(x *exchange) {
	said := &s.unreadable.client
	if x.unread == noHeader {
		said = &s.unreadable.missing
	}
	if x.unread == "" || said.Swap(true) {
		return
	}
	s.log.LogAttrs(context.Background(), slog.LevelWarn,
		"a trusted proxy does not say who its client is: all such clients share the limits of one",
		slog.String("proxy", x.addr), slog.String("header", x.unread), slog.String("request_id", x.id),
		slog.String("help", "have the proxy set X-Forwarded-For: see docs/PROXIES.md"))
}

// overTLS tells whether the client came by TLS: to us, or to a trusted proxy that says so.
func (s *Server) overTLS(r *http.Request) bool {
	if r.TLS != nil || !s.fromProxy(r) {
		return r.TLS != nil
	}
	proto := forwardedProto(r.Header)
	switch proto {
	case "https", "wss":
		return true
	case "", "http", "ws":
		return false
	}
	if !s.unreadable.proto.Swap(true) {
		s.log.LogAttrs(context.Background(), slog.LevelWarn,
			"a trusted proxy names a scheme that is neither http nor https: it is taken for http",
			slog.String("proxy", r.RemoteAddr), slog.String("scheme", cut(proto)))
	}
	return false
}

// asAsked is r under the host that the client asked for, where a trusted proxy has replaced that.
func (s *Server) asAsked(r *http.Request) *http.Request {
	if !s.fromProxy(r) {
		return r
	}
	host := forwardedHost(r.Header)
	if host == "" || host == r.Host {
		return r
	}
	asked := *r
	asked.Host = host
	return &asked
}
