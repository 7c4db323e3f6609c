package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// lookFolder looks whether the embedded registry could write to its folder. It is
// not tried: no check changes anything.
func lookFolder(folder string) Finding {
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return unknown("", err.Error())
	}
	var seen []string
	if absolute != folder {
		// Caddy's working directory may be another one.
		seen = append(seen, "the folder "+folder+" is "+absolute+" from here")
	}
	existing, missing, err := nearest(absolute)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return unknown("Start the doctor as the user that Caddy runs as.", append(seen, err.Error())...)
	case err != nil:
		return wrong("See that the folder's disk is mounted and well, or correct embedded in the config.", append(seen, err.Error())...)
	}
	info, err := os.Stat(existing)
	if err != nil {
		return unknown("", append(seen, err.Error())...)
	}
	if !info.IsDir() {
		return wrong("Move it away, or correct embedded in the config: the registry needs a folder.", append(seen, existing+" is not a folder")...)
	}
	err = writable(existing)
	switch {
	case err == nil && missing:
		return ok(append(seen, absolute+" is not there yet: Caddy makes it")...)
	case err == nil:
		return ok(append(seen, "the registry in Caddy can write to "+absolute)...)
	case errors.Is(err, fs.ErrPermission) && !closedToCaddy(info):
		// Caddy may well run as its owner.
		return unknown("Start the doctor as the user that Caddy runs as.",
			append(seen, fmt.Sprintf("%s belongs to another user than %d, who may not write to it", existing, os.Geteuid()))...)
	default:
		return wrong("Let the user that Caddy runs as write to the folder.", append(seen, existing+" can't be written to: "+cause(err))...)
	}
}

// nearest returns the path, or where nothing is there the closest above it.
func nearest(path string) (existing string, missing bool, err error) {
	for {
		_, err := os.Stat(path)
		parent := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || parent == path {
			return path, missing, err
		}
		path, missing = parent, true
	}
}
