//go:build linux

package testenv

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespaceEnv is set in the process that has a network of its own, to the name
// of the test that it runs.
const namespaceEnv = "TESTENV_NAMESPACE"

// Namespace gives a test a network of its own: no interface but lo, whose
// addresses and routes it may change as root, whoever runs it.
//
//	func TestRenumbering(t *testing.T) {
//		if !testenv.Namespace(t) {
//			return
//		}
//		router := testenv.NewRouter(t, "v0")
//		…
//	}
//
// It runs the test again, alone, in another process, and returns true there. In
// the process that go test started it returns false after the other one ended,
// and has reported as its own what became of it: a failure, a skip with its
// reason, the log. It must be the first thing that a test does, and not in a
// subtest; the test may have subtests. Several may be parallel.
//
// The process has its own mounts, too. If it is run by root, all that it starts
// ends with it; otherwise it has no capability outside. Files and the loopback addresses of the host are as they were,
// but nothing there listens on them.
//
// Where the kernel does not permit it, the test is skipped (see [Missing]).
func Namespace(t testing.TB) bool {
	t.Helper()
	if strings.Contains(t.Name(), "/") {
		t.Fatal("testenv.Namespace is for whole tests, and this is a subtest")
	}
	if os.Getenv(namespaceEnv) == t.Name() {
		// What the test mounts stays here; systemd shares mounts otherwise.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			Missing(t, NeedNamespaces, "making mounts private: "+err.Error())
		}
		if os.Geteuid() == 0 { // and so has processes of its own, see namespaced
			if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
				Missing(t, NeedNamespaces, "mounting /proc: "+err.Error())
			}
		}
		IP(t, "link", "set", "lo", "up")
		return true
	}
	Program(t, "ip")

	var out bytes.Buffer
	cmd := namespaced(t)
	cmd.Stdout, cmd.Stderr = &out, &out
	// The other process shall not outlive this one. What ends it is the end of
	// the thread that started it, so this one must not be used for others.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		if forbidden(err) {
			Missing(t, NeedNamespaces, err.Error())
		}
		t.Fatal(err)
	}
	err := cmd.Wait()
	switch log := out.String(); {
	case err != nil:
		t.Errorf("in the namespace: %v\n%s", err, log)
	case strings.Contains(log, "--- SKIP: "+t.Name()+" "):
		t.Skipf("in the namespace:\n%s", log)
	case strings.Contains(log, "--- PASS: "+t.Name()+" "):
		t.Logf("in the namespace:\n%s", log)
	default:
		t.Errorf("in the namespace the test was not run:\n%s", log)
	}
	return false
}

// namespaced returns the command that runs the test alone in its namespaces.
func namespaced(t testing.TB) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The flags of this process are not passed on: -test.coverprofile, for one,
	// would be overwritten.
	args := []string{"-test.run=^" + regexp.QuoteMeta(t.Name()) + "$", "-test.v=true"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	if tt, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if deadline, ok := tt.Deadline(); ok {
			// Earlier than here, so that it is the other one that shows where it hangs.
			left := time.Until(deadline)
			args = append(args, "-test.timeout="+(left-left/10).String())
		}
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), namespaceEnv+"="+t.Name())
	cmd.WaitDelay = 10 * time.Second // for programs left behind that hold its output
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if os.Geteuid() == 0 {
		// All that it starts ends with it, even if it is killed or times out.
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWPID
	} else {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	return cmd
}

// forbidden tells the errors of a kernel or a container that permits no
// namespaces from those of this code.
func forbidden(err error) bool {
	for _, errno := range []syscall.Errno{
		unix.EPERM, unix.EACCES, // seccomp, AppArmor, no capability
		unix.ENOSPC, unix.EUSERS, // user.max_*_namespaces
		unix.EINVAL, unix.ENOSYS, // not built in
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// detached is the test's context without its end, which comes before the
// cleanups.
func detached(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }
