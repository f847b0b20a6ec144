// Package netutil has small helpers for addresses and sockets.
package netutil

import "net/netip"

// Network returns the network that stands for an address in a limit. An IPv4 address stands for
// itself. An IPv6 address counts as its /64, since the owner of one address there owns all of them.
// Text that is not an address stands for itself.
func Network(address string) string {
	network, _ := Networks(address)
	return network
}

// Networks returns the Network of an address and its site. The site of an IPv6 address is the /48
// around it; an IPv4 address has none. Providers give many customers a /48, which has 65 536
// networks.
func Networks(address string) (network, site string) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address, ""
	}
	inner, outer := Prefixes(ip.Unmap())
	if !outer.IsValid() {
		return inner.Addr().String(), ""
	}
	return inner.String(), outer.String()
}

// Prefixes returns the prefixes of Networks. The site of an IPv4 address is not valid.
func Prefixes(ip netip.Addr) (network, site netip.Prefix) {
	if ip.Is4() {
		return netip.PrefixFrom(ip, 32), netip.Prefix{}
	}
	network, _ = ip.Prefix(64) // every IPv6 address has this prefix
	site, _ = ip.Prefix(48)
	return network, site
}
