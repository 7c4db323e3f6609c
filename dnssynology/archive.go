package dnssynology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	maxFolders = 256  // that are read; DSM has one a certificate
	maxEntries = 4096 // of the archive that are looked at
)

// archive is DSM's folder of certificates, found again by what they are for: the
// folders' names change, and the files DEFAULT and INFO beside them are not
// needed.
//
// Files are read through an [os.Root]: a symbolic link may lead to a regular
// file in the archive and nowhere else, so that who can write one folder there
// can't make Caddy read files of others.
type archive struct {
	dir     string
	watcher *dirWatcher
}

func newArchive(dir string, logger *zap.Logger) *archive {
	if abs, err := filepath.Abs(dir); err == nil { // always, but for a working directory that is gone
		dir = abs
	}
	return &archive{dir: dir, watcher: newDirWatcher(dir, logger)}
}

func (a *archive) changes() <-chan struct{} { return a.watcher.changed }

func (a *archive) pace() (first, most, patience time.Duration) {
	return time.Second, time.Minute, 3 * time.Second
}

func (a *archive) close(context.Context) error { return a.watcher.close() }

// look reads the archive. Everything is watched before it is read, so that no
// change is lost in between.
func (a *archive) look(ctx context.Context, _ func(string) *pair) reading {
	a.watcher.add([]string{a.dir})
	root, err := os.OpenRoot(a.dir)
	if err != nil {
		return reading{problems: []problem{{where: a.dir, err: a.explain(".", err)}}}
	}
	defer root.Close()
	folders, all, err := foldersOf(root)
	if err != nil {
		return reading{problems: []problem{{where: a.dir, err: a.explain(".", err)}}}
	}
	r := reading{complete: all}
	if !all {
		r.problems = append(r.problems, problem{where: a.dir, err: fmt.Errorf("more than %d entries: the rest is not looked at", maxEntries)})
	}
	if len(folders) > maxFolders {
		r.problems = append(r.problems, problem{where: a.dir, err: fmt.Errorf("more than %d folders: the rest is not read", maxFolders)})
		folders = folders[:maxFolders]
		r.complete = false
	}
	paths := []string{a.dir}
	for _, folder := range folders {
		paths = append(paths, filepath.Join(a.dir, folder))
	}
	a.watcher.watch(paths)
	for _, folder := range append([]string{"."}, folders...) {
		if ctx.Err() != nil {
			r.problems = append(r.problems, problem{where: a.dir, err: ctx.Err()})
			r.complete = false
			break
		}
		where := filepath.Join(a.dir, folder)
		files, err := a.read(root, folder)
		pairs, unfit := pairsIn(where, files)
		if err == nil {
			err = unfit // else it is missing for that reason
		}
		r.pairs = append(r.pairs, pairs...)
		if err != nil {
			r.problems = append(r.problems, problem{where: where, names: renewNames(files[renewFile]), err: err})
		}
	}
	return r
}

// foldersOf returns the names of the folders in root, in order, and whether they
// are all.
func foldersOf(root *os.Root) (folders []string, all bool, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	for _, e := range entries[:min(len(entries), maxEntries)] {
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			info, err := root.Stat(e.Name())
			isDir = err == nil && info.IsDir()
		}
		if isDir {
			folders = append(folders, e.Name())
		}
	}
	slices.Sort(folders)
	return folders, len(entries) <= maxEntries, nil
}

// read returns the files of a folder that are of use, by name.
func (a *archive) read(root *os.Root, folder string) (map[string][]byte, error) {
	files := map[string][]byte{}
	var errs []error
	read := func(name string, limit int64) {
		data, err := readRegular(root, filepath.Join(folder, name), limit)
		switch {
		case err == nil:
			files[name] = data
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, a.explain(filepath.Join(folder, name), err))
		}
	}
	for _, prefix := range prefixes {
		read(prefix+certFile, maxPEMFile)
		read(prefix+fullchainFile, maxPEMFile)
		read(prefix+chainFile, maxPEMFile)
		read(prefix+keyFile, maxKeyFile)
	}
	read(renewFile, maxPEMFile)
	return files, errors.Join(errs...)
}

// readRegular reads a regular file of limit bytes at most. Opening a pipe does
// not block.
func readRegular(root *os.Root, path string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return data, nil
}

// explain says what to do about an error of reading a path in the archive.
func (a *archive) explain(path string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err // its path is relative to something
	}
	err = fmt.Errorf("reading %s: %w", filepath.Join(a.dir, path), err)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: DSM lets only root read its certificates: mount the folder read-only and run Caddy as root (user: \"0:0\" in Docker Compose), or use the Web API (dsm) instead of the folder", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: mount the NAS's /usr/syno/etc/certificate/_archive there, read-only", err)
	}
	return err
}

// renewNames returns the names that a renew.json is for: its "domains", a string
// joined by semicolons, or a list. They are none where the file is no such thing,
// and tell what a folder is for whose certificate can't be read, no more.
func renewNames(data []byte) []string {
	var renew struct {
		Domains any `json:"domains"`
	}
	if len(data) > maxPEMFile || json.Unmarshal(data, &renew) != nil {
		return nil
	}
	var list []string
	switch domains := renew.Domains.(type) {
	case string:
		list = strings.Split(domains, ";")
	case []any:
		for _, d := range domains {
			if s, ok := d.(string); ok {
				list = append(list, s)
			}
		}
	}
	var names []string
	for _, name := range list {
		if name = canonicalName(name); name != "" && len(name) <= 253 && len(names) < 100 {
			names = append(names, name)
		}
	}
	return names
}
