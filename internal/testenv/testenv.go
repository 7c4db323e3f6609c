// Package testenv says what a test needs beyond the Go toolchain: a Docker
// engine, a program, root. Where that is missing the test is skipped, with a
// line that names it; where the environment variable REQUIRE lists it, the
// test fails instead. CI requires everything.
package testenv

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// What a test may need, and what REQUIRE may list, separated by commas.
const (
	// NeedDocker is a reachable Docker engine and the image registry:3.
	NeedDocker = "docker"
	// NeedPrograms are the programs that [Program] looks for.
	NeedPrograms = "programs"
	// NeedNamespaces is the kernel's permission to make network namespaces.
	NeedNamespaces = "namespaces"
	// NeedRoot is to be root, for a Docker engine in a namespace.
	NeedRoot = "root"
	// NeedTime are tests that wait for minutes or move gigabytes.
	NeedTime = "time"
)

// Missing ends the test because need is not met: it fails where REQUIRE lists
// need, and is skipped elsewhere.
func Missing(t testing.TB, need, reason string) {
	t.Helper()
	if required(need) {
		t.Fatalf("%s is required (REQUIRE=%s): %s", need, os.Getenv("REQUIRE"), reason)
	}
	t.Skipf("needs %s: %s", need, reason)
}

func required(need string) bool {
	return slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), need)
}

// Long tells whether REQUIRE lists "time", so that a test may take minutes.
func Long() bool { return required(NeedTime) }

// Time ends the test unless REQUIRE lists "time".
func Time(t testing.TB) {
	t.Helper()
	if !Long() {
		t.Skip("takes long: runs with REQUIRE=time")
	}
}

// Root ends the test unless it is run by root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, NeedRoot, "the user is not root")
	}
}

// Program returns the path of an installed program.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, NeedPrograms, err.Error())
	}
	return path
}

// BuildCaddy builds cmd/caddy for a test in a folder just below the module's root,
// and returns the program's path.
func BuildCaddy(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "caddy")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/caddy").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return program
}

// Docker makes sure that a Docker engine answers and has the given images. It
// uses the docker program, so that it knows DOCKER_HOST and contexts.
func Docker(t testing.TB, images ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	args := append([]string{"image", "inspect", "--format", "{{.Id}}"}, images...)
	if len(images) == 0 {
		args = []string{"version", "--format", "{{.Server.Version}}"}
	}
	if out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput(); err != nil {
		Missing(t, NeedDocker, strings.TrimSpace(string(out)+" "+err.Error()))
	}
}

// Storage keeps the storage of configs that name none in a folder of the test.
// Its path is computed as the program starts: the environment is too late.
func Storage(t testing.TB) {
	t.Helper()
	before := caddy.DefaultStorage.Path
	t.Cleanup(func() { caddy.DefaultStorage.Path = before })
	caddy.DefaultStorage.Path = t.TempDir()
}

// Eventually waits until check returns nil. It fails the test with the last
// error after 30 seconds.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	EventuallyWithin(t, what, 30*time.Second, check)
}

// EventuallyWithin is Eventually for what may take longer.
func EventuallyWithin(t testing.TB, what string, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond) // between two looks at the condition
	}
}
