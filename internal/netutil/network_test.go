package netutil

import "testing"

func TestNetwork(t *testing.T) {
	for _, test := range []struct{ address, want string }{
		{"203.0.113.7", "203.0.113.7"},
		{"::ffff:203.0.113.7", "203.0.113.7"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::", "2001:db8:1:2::/64"},
		{"2001:db8:1:3::", "2001:db8:1:3::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"::1", "::/64"},
		{"", ""},
		{"@", "@"},
	} {
		if got := Network(test.address); got != test.want {
			t.Errorf("Network(%q) = %q, want %q", test.address, got, test.want)
		}
	}
}

func TestNetworks(t *testing.T) {
	for _, test := range []struct{ address, site string }{
		{"203.0.113.7", ""},
		{"::ffff:203.0.113.7", ""},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"},
		{"@", ""},
	} {
		if _, got := Networks(test.address); got != test.site {
			t.Errorf("Networks(%q) has the site %q, want %q", test.address, got, test.site)
		}
	}
}
