//go:build !linux

package ddnsipv6

import "syscall"

// preferStable does nothing: there is no common way to ask for it.
func preferStable(_, _ string, _ syscall.RawConn) error { return nil }
