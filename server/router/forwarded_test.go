package router

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// Whatever a proxy writes, the client is the last address that is no proxy's, in any of the forms of an address;
// and what is no address is never taken for one.
func FuzzClientAddress(f *testing.F) {
	for _, seed := range []struct{ header, value string }{
		{"X-Forwarded-For", "198.51.100.1, 203.0.113.7:50123"}, {"X-Forwarded-For", "[2001:db8::7]:443"}, {"X-Forwarded-For", "unknown"},
		{"Forwarded", `for="[2001:db8::17]:4711";proto=https, for=192.0.2.60;host="a\\"b"`}, {"Forwarded", `for=_hidden;for="`},
		{"X-Real-Ip", "fe80::1%eth0"}, {"X-Forwarded-For", `"\`}, {"X-Forwarded-For", "127.0.0.1, [::ffff:127.0.0.1]:1"},
	} {
		f.Add(seed.header, seed.value, []byte{203, 0, 113, 7})
	}
	rt := &Router{cfg: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	f.Fuzz(func(t *testing.T, header, value string, client []byte) {
		h := http.Header{header: {value}}
		r := &http.Request{RemoteAddr: "127.0.0.1:9", Header: h}
		addr, unread := rt.clientAddress(r)
		if got, err := netip.ParseAddr(addr); err != nil || got.Zone() != "" || got.Is4In6() {
			t.Errorf("%s: %q makes the client %q", header, value, addr)
		} else if addr == "127.0.0.1" && unread == "" && !strings.Contains(value, "127.0.0.1") {
			t.Errorf("%s: %q makes the client the proxy, and that is not said", header, value)
		}
		forwardedProto(h)
		forwardedHost(h)

		want, ok := netip.AddrFromSlice(client)
		if want = want.Unmap(); !ok || rt.IsProxy(want) {
			return
		}
		written := netip.AddrPortFrom(want, 443).String()
		for _, behind := range []string{want.String(), written} {
			h := http.Header{"X-Forwarded-For": {value + "," + behind + " , 127.0.0.9"}}
			addr, _ := rt.clientAddress(&http.Request{RemoteAddr: "127.0.0.1:9", Header: h})
			if addr != want.String() {
				t.Errorf("%v makes the client %q, want %s", h, addr, want)
			}
		}
	})
}
