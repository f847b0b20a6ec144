package netutil

import (
	"errors"
	"net"
	"syscall"
)

// StillOpen reports whether an idle connection may be used again. That is so if the peer has
// neither closed it nor sent anything: what the peer sends on an idle connection would be a
// goodbye. StillOpen reads nothing and does not block.
func StillOpen(conn net.Conn) bool {
	_, err := peek(conn)
	return errors.Is(err, syscall.EAGAIN)
}

// HasUnread reports whether the peer has sent bytes that have not been read. It reads nothing and
// does not block.
func HasUnread(conn net.Conn) bool {
	n, err := peek(conn)
	return err == nil && n > 0
}

var errNoSocket = errors.New("the connection has no socket")

// peek asks the kernel for the next byte of a connection, and leaves it there. It takes no lock. A
// Read may be pending: RawConn.Read would wait for it, while RawConn.Control does not.
func peek(conn net.Conn) (n int, err error) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return 0, errNoSocket
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	if controlErr != nil {
		return 0, controlErr
	}
	return n, err
}
