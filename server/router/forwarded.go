package router

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

// fromProxy reports whether a trusted proxy made the connection.
func (rt *Router) fromProxy(r *http.Request) bool {
	if len(rt.cfg.TrustedProxies) == 0 {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && rt.IsProxy(peer.Addr().Unmap())
}

// IsProxy reports whether addr is the address of a trusted proxy.
func (rt *Router) IsProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(rt.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// clientAddress returns the address of the client of r. It believes only the parts of the
// forwarding header that trusted proxies wrote. It reads the parts from the last one back, until a
// part names an address that is not a trusted proxy'rt. If a part cannot be parsed, the client
// counts as the last proxy before it. unread is then the name of the header, or noHeader.
func (rt *Router) clientAddress(r *http.Request) (addr, unread string) {
	if !rt.fromProxy(r) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		return host, ""
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // fromProxy has parsed it
	at, unread := peer.Addr().Unmap(), noHeader
	header, nodes := forwardedNodes(r.Header)
	for _, node := range slices.Backward(nodes) {
		before, ok := parseNode(node)
		if !ok {
			unread = header + ": " + cut(node)
			break
		}
		at, unread = before, ""
		if !rt.IsProxy(at) {
			break
		}
	}
	return at.String(), unread
}

// forwardedNodes returns the clients that the proxies name, with the last proxy's client last, and
// the header that names them. The header is X-Forwarded-For, or else Forwarded (RFC 7239), or else
// X-Real-Ip. Only one of them is read, because a proxy that writes one of them passes on the others
// as the client wrote them.
func forwardedNodes(h http.Header) (header string, nodes []string) {
	for _, header = range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
		if nodes = slices.Collect(Members(h[header])); len(nodes) > 0 {
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

// parseNode parses an address as proxies write it: with or without a port, brackets and quotes.
func parseNode(node string) (netip.Addr, bool) {
	node = unquote(node)
	// This is first, because parts of an IPv6 address look like ports.
	if addr, err := netip.ParseAddr(node); err == nil {
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

// forwardedProto returns the scheme that the client used according to the proxies, in lower case,
// or "" if they do not tell. Of several values the first is that of the outermost proxy. A client
// that forges it misleads only itself.
func forwardedProto(h http.Header) string {
	proto := unquote(firstMember(h["X-Forwarded-Proto"]))
	return strings.ToLower(cmp.Or(proto, forwardedParameter(firstMember(h["Forwarded"]), "proto")))
}

// forwardedHost returns the host that the client requested according to the proxies, or "" if they
// do not tell.
func forwardedHost(h http.Header) string {
	host := unquote(firstMember(h["X-Forwarded-Host"]))
	return cmp.Or(host, forwardedParameter(firstMember(h["Forwarded"]), "host"))
}

// forwardedParameter returns the parameter name of one proxy's part of Forwarded, or "" if it is
// missing.
func forwardedParameter(hop, name string) string {
	for pair := range strings.SplitSeq(hop, ";") {
		if key, value, _ := strings.Cut(pair, "="); strings.EqualFold(strings.TrimSpace(key), name) {
			return unquote(strings.TrimSpace(value))
		}
	}
	return ""
}

// Members yields the members of all lines of a list header. It trims them and skips empty ones. A
// comma inside quotes separates members as well: otherwise a client could open a quote, and so hide
// what the proxy appends to the client's line.
func Members(lines []string) iter.Seq[string] {
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

// firstMember returns the first member of a list header, or "" if it has none.
func firstMember(lines []string) string {
	for member := range Members(lines) {
		return member
	}
	return ""
}

// unquote returns text without the quotes around it, if it has them.
func unquote(text string) string {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return text
	}
	return text[1 : len(text)-1]
}

// unreadableHeaders remembers which warnings about trusted proxies have been logged. Each is logged
// once.
type unreadableHeaders struct{ missing, client, proto atomic.Bool }

// warnUnreadClient warns that c counts as a request of the proxy and not of its client, because a
// header does not name the client.
func (c *Context) warnUnreadClient() {
	said := &c.rt.unreadable.client
	if c.unread == noHeader {
		said = &c.rt.unreadable.missing
	}
	if c.unread == "" || said.Swap(true) {
		return
	}
	c.rt.log.LogAttrs(context.Background(), slog.LevelWarn,
		"a trusted proxy does not say who its client is: all such clients share the limits of one",
		slog.String("proxy", c.addr), slog.String("header", c.unread), slog.String("request_id", c.id),
		slog.String("help", "have the proxy set X-Forwarded-For: see docs/PROXIES.md"))
}

// overTLS reports whether the client uses TLS: to this server, or to a trusted proxy that says so.
func (rt *Router) overTLS(r *http.Request) bool {
	if r.TLS != nil || !rt.fromProxy(r) {
		return r.TLS != nil
	}
	proto := forwardedProto(r.Header)
	switch proto {
	case "https", "wss":
		return true
	case "", "http", "ws":
		return false
	}
	if !rt.unreadable.proto.Swap(true) {
		rt.log.LogAttrs(context.Background(), slog.LevelWarn,
			"a trusted proxy names a scheme that is neither http nor https: it is taken for http",
			slog.String("proxy", r.RemoteAddr), slog.String("scheme", cut(proto)))
	}
	return false
}

// asRequested returns r with the host that the client requested, if a trusted proxy has replaced the
// host.
func (rt *Router) asRequested(r *http.Request) *http.Request {
	if !rt.fromProxy(r) {
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
