package htpasswd

import (
	"io/fs"
	"maps"
	"slices"

	"golang.org/x/crypto/bcrypt"
)

// Description is what a file holds, without its hashes.
type Description struct {
	// Users are the names, sorted; at least one.
	Users []string
	// MinCost and MaxCost are the lowest and the highest cost of the hashes.
	MinCost, MaxCost int
	// Mode has the file's permissions.
	Mode fs.FileMode
}

// Describe reads the file at path as a [Provider] does, whose errors it returns:
// [fs.ErrNotExist] and [fs.ErrPermission] among them, and a [*ParseError] for a
// line that can't be used.
func Describe(path string) (Description, error) {
	content, info, err := (&file{path: path}).read()
	if err != nil {
		return Description{}, err
	}
	us, err := parse(content)
	if err != nil {
		return Description{}, err
	}
	d := Description{Users: slices.Sorted(maps.Keys(us.hashes)), MinCost: maxCost, Mode: info.Mode()}
	for _, hash := range us.hashes {
		cost, err := bcrypt.Cost(hash)
		if err != nil {
			return Description{}, err
		}
		d.MinCost, d.MaxCost = min(d.MinCost, cost), max(d.MaxCost, cost)
	}
	return d, nil
}
