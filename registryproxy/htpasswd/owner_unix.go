//go:build unix

package htpasswd

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives the file at path the owner and group of the one at model, if
// there is one and we may.
func keepOwner(path, model string) error {
	info, err := os.Stat(model)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		// A root without CAP_CHOWN, as in compose.yaml, may not.
		if err := os.Chown(path, int(st.Uid), int(st.Gid)); !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}
