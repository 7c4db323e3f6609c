//go:build unix

package doctor

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// writable asks the kernel whether this process may make files in a folder. It
// knows of read-only file systems and of missing capabilities.
func writable(folder string) error {
	// Not Faccessat with AT_EACCESS: where the kernel is older than 5.8, as on many
	// a NAS, that is guessed, and root without capabilities guessed wrongly.
	return unix.Access(folder, unix.R_OK|unix.W_OK|unix.X_OK)
}

// closedToCaddy tells whether a file that this process may not write to is closed
// to Caddy as well: to root, and to the owner itself.
func closedToCaddy(info fs.FileInfo) bool {
	stat, is := info.Sys().(*syscall.Stat_t)
	return os.Geteuid() == 0 || is && int(stat.Uid) == os.Geteuid()
}
