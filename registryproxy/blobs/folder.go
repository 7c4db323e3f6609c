package blobs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"go.uber.org/zap"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/access"
)

// algorithm is the only one that the reference registry stores content under.
const algorithm = "sha256"

// digestLength is that of a digest in text: the algorithm, a colon, 64 digits.
const digestLength = len(algorithm) + 1 + 64

// errAbsent means that the folder does not hold what is asked for, or not in
// the form that it should have.
var errAbsent = errors.New("not in the folder")

// folder is the volume of a registry. It is opened anew for each request: a
// disk may be mounted, taken away or replaced at any time, and a folder that
// is kept open could not be unmounted.
type folder struct {
	path   string
	logger *zap.Logger

	trouble    atomic.Pointer[string] // why it could not be opened last time
	unreadable atomic.Bool            // a file in it could not be read, which was told
}

// open opens the files of the registry. Nothing outside of the folder can be
// reached through what it returns. It tells of a folder that can't be used,
// and of its return, once each.
func (f *folder) open() (*os.Root, error) {
	root, err := openFiles(f.path)
	if err != nil {
		message := err.Error()
		if old := f.trouble.Swap(&message); old == nil || *old != message {
			f.logger.Warn("folder of the registry's blobs can't be used; the registry serves them itself",
				zap.String("folder", f.path), zap.Error(err))
		}
		return nil, err
	}
	if f.trouble.Load() != nil && f.trouble.Swap(nil) != nil {
		f.logger.Info("folder of the registry's blobs can be used", zap.String("folder", f.path))
	}
	return root, nil
}

// openFiles opens the part of the folder that has the registry's files.
//
// Source: registry/storage/paths.go of github.com/distribution/distribution
func openFiles(path string) (*os.Root, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	files, err := root.OpenRoot("docker/registry/v2")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no docker/registry/v2 in it: another folder is mounted, or nothing was pushed yet: %w", err)
	}
	return files, err
}

// find opens the content if the repository links it, and returns its size.
func (f *folder) find(c access.Content) (*os.File, int64, error) {
	root, err := f.open()
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	file, size, err := findIn(root, c)
	if errors.Is(err, fs.ErrPermission) && f.unreadable.CompareAndSwap(false, true) {
		f.logger.Warn("file of the registry can't be read; the registry serves such files itself",
			zap.String("folder", f.path), zap.Error(err))
	}
	return file, size, err
}

func findIn(root *os.Root, c access.Content) (*os.File, int64, error) {
	link, _, err := openRegular(root, linkPath(c))
	if err != nil {
		return nil, 0, err
	}
	defer link.Close()
	// One byte more than it may have.
	var content [digestLength + 1]byte
	n, err := io.ReadFull(link, content[:])
	if !errors.Is(err, io.ErrUnexpectedEOF) || string(content[:n]) != c.Digest {
		return nil, 0, errAbsent
	}
	file, size, err := openRegular(root, dataPath(c.Digest))
	if err != nil {
		return nil, 0, err
	}
	if size == 0 {
		// What a full disk or a loss of power can leave. The one blob that is
		// empty by right is not worth telling apart.
		file.Close()
		return nil, 0, errAbsent
	}
	return file, size, nil
}

// linkPath returns the path of the file by which the repository links the
// content: its content is the digest.
func linkPath(c access.Content) string {
	kind := "_layers"
	if c.Manifest {
		kind = "_manifests/revisions"
	}
	return filepath.FromSlash("repositories/" + c.Repository + "/" + kind + "/" + algorithm + "/" + encoded(c.Digest) + "/link")
}

// dataPath returns the path of the content.
func dataPath(digest string) string {
	hex := encoded(digest)
	return filepath.FromSlash("blobs/" + algorithm + "/" + hex[:2] + "/" + hex + "/data")
}

// encoded returns the part of a digest after the colon.
func encoded(digest string) string { return digest[len(algorithm)+1:] }

// isSHA256 reports whether a digest is one of SHA-256, in the one form that
// has a path.
func isSHA256(digest string) bool {
	if len(digest) != digestLength || digest[:len(algorithm)+1] != algorithm+":" {
		return false
	}
	for i := range len(encoded(digest)) {
		if c := encoded(digest)[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// openRegular opens a regular file. Without O_NONBLOCK, a pipe in its place
// would hold the request.
func openRegular(root *os.Root, name string) (*os.File, int64, error) {
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errAbsent
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}
