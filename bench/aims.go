package main

import (
	"fmt"
	"math"
	"slices"
)

// aim is a bound that ours shall keep.
type aim struct {
	what  string // with its unit, where it has one
	work  string // that it is about
	bound string // as people write it
	who   []string
	// value computes what is compared; it is NaN where something is missing.
	value  func(r *results, who string) float64
	lo, hi float64
}

// heading is what the aim's note stands below.
func (a aim) heading() string { return a.what + " (" + a.bound + ")" }

// verdict is an aim's outcome for one of ours.
type verdict struct {
	value   float64
	reached bool
	failed  bool // in a round or more
}

// judge computes an aim for one of ours. It is false where the aim is not
// about it, or was not measured.
func (a aim) judge(r *results, who string) (verdict, bool) {
	if !slices.Contains(a.who, who) {
		return verdict{}, false
	}
	if r.failures[key{work: a.work, contestant: who}].rounds > 0 {
		return verdict{failed: true}, true
	}
	value := a.value(r, who)
	if math.IsNaN(value) {
		return verdict{}, false
	}
	return verdict{value: value, reached: a.lo <= value && value <= a.hi}, true
}

// over compares a work's metric with a peer's.
func over(work string, m metric, peer string) func(*results, string) float64 {
	return func(r *results, who string) float64 {
		return ratio(r.median(work, m.name, who), r.median(work, m.name, peer))
	}
}

// atLeast and atMost are ratios to a peer.
func atLeast(bound float64, work string, m metric, peer string, who []string) aim {
	return aim{
		what: fmt.Sprintf("%s: %s ÷ %s", work, m.name, peer), bound: fmt.Sprintf("≥ %g", bound),
		work: work, who: who, value: over(work, m, peer), lo: bound, hi: math.Inf(1),
	}
}

func atMost(bound float64, work string, m metric, peer string, who []string) aim {
	a := atLeast(bound, work, m, peer, who)
	a.bound, a.lo, a.hi = fmt.Sprintf("≤ %g", bound), math.Inf(-1), bound
	return a
}

// floodAims are of the works that floodWorks returns.
func floodAims() (all []aim) {
	calm := floodName(flood{name: quiet})
	for _, f := range floods() {
		if f.name == quiet {
			continue
		}
		work := floodName(f)
		for _, m := range []metric{pullMedian, freshMedian} {
			all = append(all, aim{
				what: work + ": " + m.name + " ÷ that when " + quiet, bound: "≤ 2", work: work, who: ours, lo: 0, hi: 2,
				value: func(r *results, who string) float64 {
					return ratio(r.median(work, m.name, who), r.median(calm, m.name, who))
				},
			})
		}
		all = append(all, aim{
			what: work + ": " + floodPeak.name + " − that when " + quiet, bound: "≤ 200", work: work, who: ours, lo: math.Inf(-1), hi: 200,
			value: func(r *results, who string) float64 {
				return r.median(work, floodPeak.name, who) - r.median(calm, floodPeak.name, who)
			},
		})
	}
	return all
}

// aims are what this project wants to show.
func aims(s scale) []aim {
	withoutBlobs := slices.DeleteFunc(slices.Clone(ours), func(name string) bool { return name == oursBlobs })
	withBlobs := []string{oursBlobs}
	bridged := []string{oursDocker, oursBlobs}
	pull := pullName(s.large, keepAlive, 1)
	push := pushName(s.large, 0)
	login := func(m metric) func(*results, string) float64 {
		return func(r *results, who string) float64 { return r.median(loginName, m.name, who) }
	}
	all := []aim{
		atLeast(2, requestName(ping, keepAlive), rate, stockCaddy, ours),
		atLeast(200, requestName(ping, keepAlive), rate, article, ours),
		atLeast(1.1, requestName(ping, newConnection), rate, stockCaddy, ours),
		atLeast(1, requestName(manifestGet, keepAlive), rate, stockCaddy, ours),
		atLeast(1, requestName(manifestGet, newConnection), rate, stockCaddy, ours),
		atLeast(1, requestName(manifestGet, multiplexed), rate, stockCaddy, ours),
		atLeast(1, requestName(manifestGet, keepAlive), rate, stockBridge, bridged),
		atMost(1, pull, cpuGiB, article, withBlobs),
		atMost(0.65, pull, cpuGiB, stockCaddy, withBlobs),
		atMost(1, pull, cpuGiB, stockCaddy, withoutBlobs),
		atMost(1, pull, cpuGiB, stockBridge, []string{oursDocker}),
		atMost(1.1, pull, cpuGiB, nginxRecipe, withoutBlobs),
		atMost(1, push, cpuGiB, stockCaddy, ours),
		atMost(1, push, cpuGiB, stockBridge, bridged),
		atMost(0.85, push, cpuGiB, article, []string{oursEmbedded}),
		{
			what: loginName + ": unknown user ÷ wrong password", bound: "0.8 to 1.25", work: loginName, who: ours, lo: 0.8, hi: 1.25,
			value: func(r *results, who string) float64 {
				return ratio(login(unknownUser)(r, who), login(wrongPassword)(r, who))
			},
		},
		{
			what: attackName + ": " + goodMedian.name, bound: "≤ 10", work: attackName, who: ours, lo: 0, hi: 10,
			value: func(r *results, who string) float64 { return r.median(attackName, goodMedian.name, who) },
		},
	}
	for _, peer := range []string{article, nginxRecipe, stockCaddy} {
		all = append(all, atMost(0.2, attackName, goodMedian, peer, ours))
	}
	return append(all,
		aim{
			what: memoryName + ": idle − " + stockCaddy + ", MiB", bound: "≤ 20", work: memoryName, who: ours, lo: math.Inf(-1), hi: 20,
			value: func(r *results, who string) float64 {
				return r.median(memoryName, idle.name, who) - r.median(memoryName, idle.name, stockCaddy)
			},
		},
		aim{
			what: growthName(s) + ", MiB", bound: "≤ 30", work: growthName(s), who: ours, lo: math.Inf(-1), hi: 30,
			value: func(r *results, who string) float64 { return r.median(growthName(s), growth.name, who) },
		},
	)
}
