package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
)

// metric is a number that a work gives.
type metric struct {
	name   string // with its unit
	digits int    // after the point
}

// work is something that all contestants do.
type work struct {
	name    string
	about   string // one line for the report
	metrics []metric
	// run returns the values of the metrics of one round, or errNotDone.
	run func(context.Context, *server) ([]float64, error)
}

// errNotDone is of a contestant that can't do a work by its nature.
var errNotDone = errors.New("not done")

// Metrics that several works have.
var (
	rate       = metric{"requests/s", 0}
	cpuRequest = metric{"CPU ms/request", 3}
	throughput = metric{"MiB/s", 0}
	cpuGiB     = metric{"CPU s/GiB", 2}
)

// allWorks returns the works in their order. What restarts the proxy comes
// first, while there is little to forget.
func allWorks(s scale) []work {
	works := []work{startWork(), memoryWork(s), growthWork(s)}
	for _, target := range []request{ping, manifestGet, manifestHead} {
		for _, way := range []string{keepAlive, newConnection, multiplexed} {
			works = append(works, requestWork(target, way, s))
		}
	}
	for _, size := range []int64{small, middle, s.large} {
		for _, way := range []string{keepAlive, multiplexed} {
			for _, clients := range []int{1, 16} {
				works = append(works, pullWork(size, way, clients, s))
			}
		}
	}
	return append(works,
		rangeWork(1, s), rangeWork(16, s),
		pushWork(s, 0), pushWork(s, chunkSize),
		engineWork(s),
		loginWork(s), attackWork(s),
	)
}

// floodWorks are what a good user notices of others. They take a minute each, and
// are done when they are asked for.
func floodWorks(s scale) (works []work) {
	for _, f := range floods() {
		works = append(works, floodWork(f, s))
	}
	return works
}

// selectWorks returns those whose name the pattern matches.
func selectWorks(all []work, pattern *regexp.Regexp) []work {
	var selected []work
	for _, w := range all {
		if pattern.MatchString(w.name) {
			selected = append(selected, w)
		}
	}
	return selected
}

// sizeName writes a size as people do.
func sizeName(bytes int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if bytes >= unit.size {
			return fmt.Sprintf("%d %s", bytes/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d B", bytes)
}
