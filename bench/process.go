package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a program that serves, on this machine or in a container.
type process struct {
	pid  int
	log  func() string // the end of what it printed
	done <-chan struct{}
	stop func() error // and wait until it has ended
}

// startProgram starts a program that lasts until stop. What it prints goes to
// a file in dir.
func startProgram(ctx context.Context, dir string, command []string) (*process, error) {
	path := filepath.Join(dir, filepath.Base(command[0])+".log")
	output, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close() // the program has its own
	// The program outlives the context: stop ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), command[0], command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none", "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	// Ctrl-C in the terminal is for this program, which stops the others.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(done)
	}()
	return &process{
		pid:  cmd.Process.Pid,
		log:  func() string { return tail(path) },
		done: done,
		stop: func() error { return endGroup(cmd.Process.Pid, done) },
	}, nil
}

// endGroup ends the process group that a program leads, which has it and its
// children.
func endGroup(pid int, done <-chan struct{}) error {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := syscall.Kill(-pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("ending process %d: %w", pid, err)
		}
		select {
		case <-done:
			return nil
		case <-time.After(10 * time.Second):
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

// startContainer runs a container of this name until stop. What it prints is the
// engine's to keep.
func startContainer(ctx context.Context, name string, arguments ...string) (*process, error) {
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, err := docker(ctx, "rm", "--force", "--volumes", name)
		return err
	}
	if _, err := docker(ctx, append([]string{"run", "--detach", "--name", name}, arguments...)...); err != nil {
		_ = stop() // it may have been made, and not started
		return nil, err
	}
	pid, err := docker(ctx, "inspect", "--format", "{{.State.Pid}}", name)
	p := &process{
		stop: stop,
		log: func() string {
			out, _ := docker(context.WithoutCancel(ctx), "logs", "--tail", "5", name) // for a message only
			return out
		},
	}
	if err == nil {
		_, err = fmt.Sscan(pid, &p.pid)
	}
	if err == nil {
		// An engine in a virtual machine has processes that are not ours to read.
		_, err = os.Stat(fmt.Sprintf("/proc/%d", p.pid))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("process of the container: %w", err), stop())
	}
	return p, nil
}

// docker runs the docker program, and returns what it prints.
func docker(ctx context.Context, arguments ...string) (string, error) {
	return output(exec.CommandContext(ctx, "docker", arguments...))
}

// output runs a command and returns what it prints on its standard output.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, lastLine(string(exit.Stderr)))
		}
		return "", fmt.Errorf("%s %s: %w", filepath.Base(cmd.Args[0]), cmd.Args[1], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// tail returns the end of a file, for a message.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return lastLine(string(content))
}

// lastLine returns the last line that is not empty.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
