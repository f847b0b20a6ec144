package listener

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is how long a connection lives whose client acknowledges nothing that it is sent. A
// client that vanishes without a word is noticed by keep-alive only while nothing is sent to it. A
// stream that sends a little all the time would stay open until the kernel's buffer is full.
const userTimeout = time.Minute

// setUserTimeout sets userTimeout for an accepted connection. Not every kernel lets connections
// inherit it from their listener.
func setUserTimeout(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
}
