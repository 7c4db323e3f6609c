//go:build linux

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// start is what a machine does first, as its process 1, which reaps all others.
// Files are those of the test's machine, but for what a network or an engine
// needs for itself.
const start = `set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
ip link set lo up
if [ -d "$1/certs" ]; then mount --bind "$1/certs" /etc/ssl/certs; fi
if [ -f "$1/resolv.conf" ]; then
	at=$(readlink -m /etc/resolv.conf) # it may be a link into /run
	mkdir -p "${at%/*}"; [ -e "$at" ] || : >"$at"
	mount --bind "$1/resolv.conf" "$at"
fi
echo ready
while :; do sleep 3600 & wait $!; done
`

// patience is how long a program may take that does not run in the background: a
// push of 1 GiB on a busy machine is the longest.
const patience = 6 * time.Minute

// machine is a host: namespaces of network, mounts and processes. All in it ends
// with its first process, which ends with the test.
type machine struct {
	t    testing.TB
	name string
	dir  string // its own files
	pid  string // of its first process, as seen from here
}

// newMachine starts a machine. It uses the resolver and trusts roots, in PEM, if
// those are given.
func newMachine(t testing.TB, name, resolver string, roots []byte) *machine {
	t.Helper()
	m := &machine{t: t, name: name, dir: filepath.Join(t.TempDir(), name)}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if resolver != "" {
		m.write("resolv.conf", "nameserver "+resolver+"\n")
	}
	if len(roots) > 0 {
		m.write("certs/ca-certificates.crt", string(roots))
	}
	first := exec.CommandContext(ended(t), "sh", "-c", start, "sh", m.dir)
	first.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  unix.SIGKILL,
	}
	var failure testenv.Output
	first.Stderr = &failure
	out, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		testenv.Missing(t, testenv.NeedNamespaces, err.Error())
	}
	t.Cleanup(func() {
		_ = first.Process.Kill() // and with it all processes of the namespace
		_ = first.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("starting %s: %q, %v\n%s", name, line, err, failure.Log())
	}
	m.pid = strconv.Itoa(first.Process.Pid)
	return m
}

// write writes a file of the machine, and returns its path.
func (m *machine) write(name, content string) string {
	m.t.Helper()
	file := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
	return file
}

// command is a program to run on the machine, in a folder, with more environment.
func (m *machine) command(ctx context.Context, dir string, env []string, args ...string) *exec.Cmd {
	enter := []string{"--target", m.pid, "--net", "--mount", "--pid", "--wd=" + dir, "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	// Nothing of ours: Compose prefers the environment to .env, for one.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + m.dir}, env...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// try runs a program on the machine, and returns what it prints.
func (m *machine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ended(m.t), patience)
	defer cancel()
	out, err := m.command(ctx, m.dir, nil, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %s: %w\n%s", m.name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// run is try for what must succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// daemon is a program that runs in the background.
type daemon struct {
	testenv.Output
	cmd   *exec.Cmd
	ended chan struct{}
}

// daemon starts a program that runs until it is stopped, or the machine ends. What
// it printed is shown if the test fails.
func (m *machine) daemon(args ...string) *daemon {
	m.t.Helper()
	d := &daemon{cmd: m.command(ended(m.t), m.dir, nil, args...), ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = d, d
	if err := d.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait()
		close(d.ended)
	}()
	m.t.Cleanup(func() {
		if m.t.Failed() {
			m.t.Logf("%s on %s:\n%s", args[0], m.name, last(d.Log(), 40))
		}
	})
	return d
}

// stop asks the program to end, and waits.
func (d *daemon) stop() { d.end(syscall.SIGTERM) }

// kill ends the program, which has no say in it.
func (d *daemon) kill() { d.end(syscall.SIGKILL) }

func (d *daemon) end(signal syscall.Signal) {
	// nsenter passes no signal on: its one child is the program, once it is there.
	// It gets the signal once: an engine takes a third one for impatience, and leaves
	// its containers as they are.
	file := fmt.Sprintf("/proc/%d/task/%[1]d/children", d.cmd.Process.Pid)
	told := make(map[int]bool)
	for deadline := time.After(patience); ; {
		children, _ := os.ReadFile(file)
		for pid := range strings.FieldsSeq(string(children)) {
			if n, err := strconv.Atoi(pid); err == nil && !told[n] {
				told[n] = syscall.Kill(n, signal) == nil
			}
		}
		select {
		case <-d.ended:
			return
		case <-deadline:
			_ = d.cmd.Process.Kill()
			<-d.ended
			return
		case <-time.After(100 * time.Millisecond): // until it is there
		}
	}
}

// last returns the last lines of a text.
func last(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// ended is the context of what ends in a Cleanup, after the test's own context.
func ended(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }
