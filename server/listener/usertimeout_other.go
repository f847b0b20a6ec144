//go:build !linux

package listener

import "net"

// setUserTimeout does nothing: only Linux has the option.
func setUserTimeout(net.Conn) {}
