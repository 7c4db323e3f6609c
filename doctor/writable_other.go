//go:build !unix

package doctor

import "io/fs"

// writable is not known without writing.
func writable(string) error { return nil }

func closedToCaddy(fs.FileInfo) bool { return false }
