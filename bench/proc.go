package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/<pid>/stat: USER_HZ is 100 on every
// architecture that Go knows.
const tick = 10 * time.Millisecond

// procStat is what /proc/<pid>/stat says of a process.
//
// Source: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
type procStat struct {
	pid, parent int
	cpu         time.Duration // user and system, of it and of the children that it has waited for
}

// parseStat reads the one line of /proc/<pid>/stat.
func parseStat(line string) (procStat, error) {
	// The program's name may hold spaces and parentheses.
	start, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if start < 1 || end < start {
		return procStat{}, fmt.Errorf("no name in parentheses in %q", line)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[:start]))
	if err != nil {
		return procStat{}, fmt.Errorf("process id: %w", err)
	}
	fields := strings.Fields(line[end+1:]) // from the third on, which is the state
	const (
		parent = 4 - 3
		utime  = 14 - 3
		cstime = 17 - 3
	)
	if len(fields) <= cstime {
		return procStat{}, fmt.Errorf("only %d fields after the name in %q", len(fields), line)
	}
	s := procStat{pid: pid}
	if s.parent, err = strconv.Atoi(fields[parent]); err != nil {
		return procStat{}, fmt.Errorf("parent of process %d: %w", pid, err)
	}
	for _, field := range fields[utime : cstime+1] { // utime, stime, cutime, cstime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return procStat{}, fmt.Errorf("times of process %d: %w", pid, err)
		}
		s.cpu += time.Duration(ticks) * tick
	}
	return s, nil
}

// parseResident returns VmRSS of /proc/<pid>/status, in bytes. It is 0 for a
// process that has ended and was not waited for: it has no memory left.
func parseResident(status string) (int64, error) {
	for line := range strings.Lines(status) {
		value, ok := strings.CutPrefix(line, "VmRSS:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("resident memory: %w", err)
		}
		return kib << 10, nil
	}
	return 0, nil
}

// family returns those of all that are root or descend from it.
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

// processes returns what runs on this machine.
func processes() ([]procStat, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var all []procStat
	for _, path := range paths {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended since
		}
		s, err := parseStat(string(line))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, s)
	}
	return all, nil
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

// residentMemory returns the resident memory of a process and its descendants,
// in bytes. What they share is counted once for each.
func residentMemory(root int) (int64, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, s := range family(all, root) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
		if err != nil {
			continue // it has ended since
		}
		bytes, err := parseResident(string(status))
		if err != nil {
			return 0, err
		}
		sum += bytes
	}
	if sum == 0 {
		return 0, errors.New("the process has ended")
	}
	return sum, nil
}
