package testenv

import (
	"os/exec"
	"syscall"
)

// noOrphan ends a program with this process, however that ends: a test that times
// out or is killed cleans up nothing.
func noOrphan(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
