package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// machineFacts says what a run was made on, and how.
func machineFacts(ctx context.Context, s scale, dir string) [][2]string {
	facts := [][2]string{
		{"date", time.Now().UTC().Format("2006-01-02 15:04 UTC")},
		{"command", "`go run ./bench" + quoted(os.Args[1:]) + "`"},
		{"rounds", fmt.Sprint(s.rounds)},
		{"CPU", fmt.Sprintf("%s, %d cores", field("/proc/cpuinfo", "model name"), runtime.NumCPU())},
		{"memory", field("/proc/meminfo", "MemTotal")},
		{"kernel", firstLine("/proc/sys/kernel/osrelease") + ", " + runtime.GOARCH},
		{"Go", runtime.Version()},
	}
	if engine, err := docker(ctx, "version", "--format", "{{.Server.Version}}"); err == nil {
		facts = append(facts, [2]string{"Docker engine", engine})
	}
	if kind, err := output(exec.CommandContext(ctx, "stat", "--file-system", "--format", "%T", dir)); err == nil {
		facts = append(facts, [2]string{"file system", kind})
	}
	if commit, err := output(exec.CommandContext(ctx, "git", "describe", "--always", "--dirty")); err == nil {
		facts = append(facts, [2]string{"this project at", commit})
	}
	return facts
}

// quoted writes arguments for a shell, each after a space.
func quoted(arguments []string) string {
	var b strings.Builder
	for _, a := range arguments {
		if a == "" || strings.ContainsAny(a, " ^$|()*?'\"\\") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		b.WriteString(" " + a)
	}
	return b.String()
}

// field returns the first value of a "name : value" line of a file of /proc.
func field(path, name string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(content)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func firstLine(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(content), "\n")
	return line
}

// present returns a contestant as the report has it.
func present(c *contestant) entrant {
	return entrant{name: c.name, about: c.about, version: "–", tls: "–"}
}

// examine adds what the program of a contestant's front is.
func (l *lab) examine(ctx context.Context, e *entrant, program string) {
	if info, err := os.Stat(program); err == nil {
		e.binary = info.Size()
	}
	switch program {
	case l.programs.nginx:
		// It prints its version as an error: "nginx version: nginx/1.22.1".
		if out, err := exec.CommandContext(ctx, program, "-v").CombinedOutput(); err == nil {
			e.version = strings.TrimSpace(string(out[strings.LastIndexByte(string(out), '/')+1:]))
		}
	default:
		e.version = moduleVersion(program)
	}
}

// moduleVersion returns what a Go program was built of: the registry or
// Caddy, whichever is its main part.
func moduleVersion(program string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "–"
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		switch m.Path {
		case "github.com/caddyserver/caddy/v2":
			return "Caddy " + m.Version
		case "github.com/distribution/distribution/v3":
			if m == &info.Main {
				return m.Version
			}
		}
	}
	return "–"
}
