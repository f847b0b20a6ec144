package admin

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// shortPath returns a path of the open directory of at most 30 bytes.
func shortPath(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", dir.Fd()) }

// A peer is the process at the other end of a Unix socket: who has connected, or who listens.
type peer struct{ pid, uid int }

// peerOf returns the peer of c, as the kernel knows it.
func peerOf(c *net.UnixConn) (peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var cred *syscall.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if controlErr != nil {
		return peer{}, controlErr
	}
	if err != nil {
		return peer{}, err
	}
	return peer{int(cred.Pid), int(cred.Uid)}, nil
}
