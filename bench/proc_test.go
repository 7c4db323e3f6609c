package main

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
)

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
	if memory, err := usedMemory(os.Getpid()); err != nil || memory.now < 1<<20 || memory.peak < memory.now {
		t.Errorf("memory of this process: %+v, %v", memory, err)
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

// TestPeakOfMemory sees the peak of what is gone again, and forgets it.
func TestPeakOfMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		t.Skip("needs /proc")
	}
	const size = 64 << 20
	peak := func() int64 {
		if err := forgetPeak(os.Getpid()); err != nil {
			t.Fatal(err)
		}
		before, err := usedMemory(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		return before.peak
	}
	before := peak()
	block, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < size; i += 4096 {
		block[i] = 1
	}
	if err := syscall.Munmap(block); err != nil {
		t.Fatal(err)
	}
	after, err := usedMemory(os.Getpid())
	if err != nil || after.peak < before+size/2 || after.now > before+size/2 {
		t.Errorf("%+v, %v after %d bytes more than %d", after, err, size, before)
	}
	if again := peak(); again > before+size/2 {
		t.Errorf("the peak is still %d", again)
	}
}
