package doctor

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(folder string) Finding {
		return lookRegistry(t.Context(), &patient{setup: &setup{embedded: folder}})
	}
	before := tree(t, dir)
	says(t, look(dir), OK, "can write to "+dir, "")
	says(t, look(filepath.Join(dir, "a", "b")), OK, "a/b is not there yet: Caddy makes it", "")
	says(t, look(file), Wrong, file+" is not a folder", "Move it away")
	says(t, look(filepath.Join(file, "a")), Wrong, "not a directory", "mounted and well")
	t.Chdir(dir)
	says(t, look("./a"), OK, "the folder ./a is "+dir+"/a from here", "")
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("it changed something:\n%s", diff)
	}
}

// TestFolderForbidden: root without capabilities, as in compose.yaml, or anybody.
func TestFolderForbidden(t *testing.T) {
	if !withoutCapabilities(t) {
		return
	}
	dir := filepath.Join(t.TempDir(), "registry")
	if err := os.Mkdir(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	says(t, lookFolder(dir), Wrong, dir+" can't be written to: permission denied", "write to the folder")
	says(t, lookFolder(filepath.Join(dir, "a")), Wrong, dir+" can't be written to: permission denied", "write to the folder")
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	says(t, lookFolder(filepath.Join(dir, "a")), Unknown, "permission denied", "as the user that Caddy runs as")
	// Of another user: Caddy may be that one, unless this is root.
	if os.Geteuid() != 0 {
		says(t, lookFolder("/"), Unknown, "than "+strconv.Itoa(os.Geteuid()), "as the user that Caddy runs as")
	}
}

// tree lists a folder with its times.
func tree(t *testing.T, dir string) (entries []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		entries = append(entries, path+" "+info.ModTime().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}
