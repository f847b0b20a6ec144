//go:build !linux

package admin

import (
	"net"
	"os"
)

// shortPath returns the directory's own path: only Linux has a shorter one.
func shortPath(dir *os.File) string { return dir.Name() }

// A peer is the process at the other end of a Unix socket.
type peer struct{ pid, uid int }

// peerOf says that the user of this process has connected: the socket's mode lets in nobody else
// but root.
func peerOf(*net.UnixConn) (peer, error) { return peer{uid: os.Geteuid()}, nil }
