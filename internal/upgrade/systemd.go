package upgrade

import "net"

// Notify tells systemd the state of this process (sd_notify(3)), if environ says that systemd wants
// to know. An error is ignored: systemd can do without a message that it does not get.
func Notify(environ []string, state string) {
	name := valueOf(environ, "NOTIFY_SOCKET")
	if name == "" {
		return
	}
	conn, err := net.Dial("unixgram", name)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}
