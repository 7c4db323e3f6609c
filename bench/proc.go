package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/procfs"
)

// tick is the unit of the times in /proc/<pid>/stat: USER_HZ is 100 on every
// architecture that Go knows.
const tick = 10 * time.Millisecond

// procStat is what a process has used.
type procStat struct {
	pid, parent int
	cpu         time.Duration // user and system, of it and of the children that it has waited for
}

// processes returns what runs on this machine.
func processes() ([]procStat, error) {
	running, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	all := make([]procStat, 0, len(running))
	for _, p := range running {
		s, err := p.Stat()
		if err != nil {
			continue // it has ended since
		}
		ticks := int(s.UTime) + int(s.STime) + s.CUTime + s.CSTime
		all = append(all, procStat{pid: s.PID, parent: s.PPID, cpu: time.Duration(ticks) * tick})
	}
	return all, nil
}

// family returns those of all that are root or descend from it, root first.
func family(all []procStat, root int) []procStat {
	children := make(map[int][]procStat)
	var found []procStat
	for _, s := range all {
		if s.pid == root {
			found = append(found, s)
		}
		children[s.parent] = append(children[s.parent], s)
	}
	for i := 0; i < len(found); i++ { // it grows meanwhile
		found = append(found, children[found[i].pid]...)
	}
	return found
}

// usedCPU returns the user and system time that processes and their
// descendants have used. One that has ended is an error: its time is lost.
func usedCPU(roots ...int) (time.Duration, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, root := range roots {
		found := family(all, root)
		if len(found) == 0 {
			return 0, fmt.Errorf("process %d has ended", root)
		}
		for _, s := range found {
			sum += s.cpu
		}
	}
	return sum, nil
}

// memory is the resident memory of a process and its descendants, in bytes. What
// descendants share with others is not counted again: they were forked.
type memory struct {
	now  int64
	peak int64 // since forgetPeak
}

// usedMemory returns the memory of a process.
func usedMemory(root int) (memory, error) {
	all, err := processes()
	if err != nil {
		return memory{}, err
	}
	var sum memory
	for i, s := range family(all, root) {
		p, err := procfs.NewProc(s.pid)
		if err != nil {
			continue // it has ended since
		}
		status, err := p.NewStatus()
		if err != nil {
			continue
		}
		var shared uint64
		if i > 0 {
			maps, err := p.ProcSMapsRollup()
			if err != nil {
				continue
			}
			shared = min(maps.SharedClean+maps.SharedDirty, status.VmRSS)
		}
		sum.now += int64(status.VmRSS - shared)  //nolint:gosec // bytes of memory
		sum.peak += int64(status.VmHWM - shared) //nolint:gosec // bytes of memory
	}
	if sum.now == 0 {
		return memory{}, errors.New("the process has ended")
	}
	return sum, nil
}

// forgetPeak makes the memory of this moment the peak of a process and of its
// descendants.
//
// Source: https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html
func forgetPeak(root int) error {
	all, err := processes()
	if err != nil {
		return err
	}
	for _, s := range family(all, root) {
		const peak = "5"
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.pid), []byte(peak), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
