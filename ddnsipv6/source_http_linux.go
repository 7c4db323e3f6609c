package ddnsipv6

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// preferPublic is IPV6_PREFER_SRC_PUBLIC of linux/in6.h.
const preferPublic = 0x2

// preferStable makes the kernel choose an address for a connection that is not
// temporary, if there is one (RFC 5014). Otherwise it prefers temporary ones,
// and those must not be published.
func preferStable(_, _ string, conn syscall.RawConn) error {
	var optErr error
	err := conn.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_ADDR_PREFERENCES, preferPublic)
	})
	if err != nil {
		return err
	}
	return optErr
}
