package testenv

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNoOrphan: programs end with a test process that is killed, as go test does
// with one that takes too long. They would keep its network alive.
func TestNoOrphan(t *testing.T) {
	const inner = "TESTENV_ORPHAN"
	if os.Getenv(inner) != "" {
		n := StartNamed(t, Zone{Name: "example.org."})
		StartPebble(t, n.Address, 3600)
		fmt.Println("started")
		time.Sleep(time.Hour) // until it is killed
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	Program(t, "pebble")
	sbinProgram(t, "named")
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestNoOrphan$")
	cmd.Env = append(os.Environ(), inner+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "started" {
	}
	var pids []string
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", cmd.Process.Pid))
	for _, file := range threads {
		children, _ := os.ReadFile(file)
		pids = append(pids, strings.Fields(string(children))...)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil || len(pids) != 2 {
		t.Fatalf("the programs that it started are %v, %v", pids, err)
	}
	for _, pid := range pids {
		Eventually(t, "the end of process "+pid, func() error {
			status, err := os.ReadFile("/proc/" + pid + "/status")
			if err == nil && !strings.Contains(string(status), "State:\tZ") { // nobody may reap it
				return fmt.Errorf("%s", status)
			}
			return nil
		})
	}
}
