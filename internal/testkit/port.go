package testkit

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// FreePort returns a TCP port of 127.0.0.1 that nothing listens on. It is below
// the ports that Linux gives to outgoing connections, so that it stays free while
// the server that has it is stopped and started again.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		ln, failed := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if failed == nil {
			return port, ln.Close()
		}
		err = failed
	}
	return 0, errors.Join(errors.New("no free port"), err)
}
