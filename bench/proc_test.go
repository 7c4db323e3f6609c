package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		name, line string
		want       procStat
		err        string
	}{
		{
			name: "a process",
			line: "123 (caddy) S 1 123 123 0 -1 4194560 100 0 0 0 250 50 3 7 20 0 9 0 100 1000 200 18446744073709551615 1",
			want: procStat{pid: 123, parent: 1, cpu: 3100 * time.Millisecond},
		},
		{
			name: "a name with spaces and parentheses",
			line: "7 (tmux: (server) 1) S 42 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 0 1",
			want: procStat{pid: 7, parent: 42, cpu: 100 * time.Millisecond},
		},
		{name: "empty", line: "", err: "no name"},
		{name: "no number before the name", line: "x (a) S 1", err: "process id"},
		{name: "cut off", line: "7 (a) S 1 7 7", err: "only 4 fields"},
		{name: "a parent that is no number", line: "7 (a) S x 7 7 0 -1 0 0 0 0 0 1 2 3 4 20", err: "parent of process 7"},
		{name: "a time that is no number", line: "7 (a) S 1 7 7 0 -1 0 0 0 0 0 1 x 3 4 20", err: "times of process 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat(tt.line)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v instead of one with %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("%+v, %v instead of %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseResident(t *testing.T) {
	tests := []struct {
		name, status string
		want         int64
		fails        bool
	}{
		{name: "a process", status: "Name:\tcaddy\nVmHWM:\t  9000 kB\nVmRSS:\t  2048 kB\nThreads:\t9\n", want: 2 << 20},
		{name: "one that has ended", status: "Name:\tcaddy\nState:\tZ (zombie)\n"},
		{name: "no number", status: "VmRSS:\t  many kB\n", fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseResident(tt.status)
			if (err != nil) != tt.fails || got != tt.want {
				t.Errorf("%d, %v instead of %d", got, err, tt.want)
			}
		})
	}
}

func TestFamily(t *testing.T) {
	all := []procStat{{pid: 1}, {pid: 30, parent: 20}, {pid: 10, parent: 1}, {pid: 20, parent: 10}, {pid: 11, parent: 1}, {pid: 21, parent: 10}}
	tests := []struct {
		root int
		want []int
	}{
		{10, []int{10, 20, 21, 30}},
		{11, []int{11}},
		{99, nil},
	}
	for _, tt := range tests {
		var got []int
		for _, s := range family(all, tt.root) {
			got = append(got, s.pid)
		}
		if slices.Sort(got); !slices.Equal(got, tt.want) {
			t.Errorf("family of %d: %v instead of %v", tt.root, got, tt.want)
		}
	}
}

// TestUsageOfProcess reads the kernel's own: what a child has used counts, too,
// while it lives and after that.
func TestUsageOfProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc")
	}
	if memory, err := residentMemory(os.Getpid()); err != nil || memory < 1<<20 {
		t.Errorf("memory of this process: %d, %v", memory, err)
	}
	before, err := usedCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	used := child.ProcessState.UserTime() + child.ProcessState.SystemTime()
	after, err := usedCPU(os.Getpid())
	// Each of four times may have been cut to ticks.
	if err != nil || after-before < used-4*tick {
		t.Errorf("%v more after a child that used %v, %v", after-before, used, err)
	}
	if _, err := usedCPU(child.Process.Pid); err == nil {
		t.Error("a process that has ended has a usage")
	}
}
