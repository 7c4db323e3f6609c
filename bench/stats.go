package main

import (
	"math"
	"slices"
)

// median returns the middle of values, and of an even number of them the mean
// of both. It is NaN for none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// percentile returns the smallest value that p percent of values don't exceed
// (nearest rank). It is NaN for none.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// ratio returns a ÷ b. It is NaN where that says nothing.
func ratio(a, b float64) float64 {
	if b == 0 || math.IsInf(a, 0) || math.IsInf(b, 0) {
		return math.NaN()
	}
	return a / b
}

// key says what was measured of whom.
type key struct {
	work, metric, contestant string
}

// failure is of a contestant in a work.
type failure struct {
	rounds int
	last   error
}

// results are the samples of a run: one per round.
type results struct {
	samples  map[key][]float64
	failures map[key]failure // of a work; metric is ""
}

func newResults() *results {
	return &results{samples: make(map[key][]float64), failures: make(map[key]failure)}
}

// add keeps what one round of a work gave, in the order of its metrics.
func (r *results) add(w work, contestant string, values []float64) {
	for i, m := range w.metrics {
		k := key{w.name, m.name, contestant}
		r.samples[k] = append(r.samples[k], values[i])
	}
}

// fail keeps that one round of a work failed.
func (r *results) fail(w work, contestant string, err error) {
	k := key{work: w.name, contestant: contestant}
	r.failures[k] = failure{rounds: r.failures[k].rounds + 1, last: err}
}

// median returns the median of the rounds. It is NaN where there is none.
func (r *results) median(work, metric, contestant string) float64 {
	return median(r.samples[key{work, metric, contestant}])
}
