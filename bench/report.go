package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// entrant is a contestant as the report presents it.
type entrant struct {
	name, about string
	version     string
	tls         string // version and key exchange
	binary      int64  // bytes; 0: unknown
	missing     string // what the machine lacks for it
	failed      error  // why it did not start
}

// absent tells whether it did not take part.
func (e entrant) absent() bool { return e.missing != "" || e.failed != nil }

// report is what is written about a run.
type report struct {
	heading  string // a warning where the run says little
	facts    [][2]string
	entrants []entrant
	works    []work
	aims     []aim
	notes    map[string]string // about aims, by what they are
	results  *results
	plot     string // the file beside it; empty: none
}

// markdown writes the report.
func (r report) markdown() string {
	var b strings.Builder
	b.WriteString("# Results\n\n")
	if r.heading != "" {
		b.WriteString(r.heading + "\n\n")
	}
	b.WriteString(`Medians of interleaved rounds on one machine, in brackets the smallest and the largest value. The load generator shares the cores
with what it measures: rates compare contestants, CPU seconds (user and system, of proxy and registry together) tell what they cost.
All have the same certificate (ECDSA P-256), the same users with hashes of bcrypt at cost 10, and the same registry program.

`)
	for _, f := range r.facts {
		fmt.Fprintf(&b, "- %s: %s\n", f[0], f[1])
	}
	b.WriteString("\n## Contestants\n\n")
	r.writeEntrants(&b)
	if r.plot != "" {
		fmt.Fprintf(&b, "\n![The main results as bars](%s)\n", r.plot)
	}
	b.WriteString("\n## What it must show\n\n")
	r.writeAims(&b)
	b.WriteString("\n## All works\n")
	for _, w := range r.works {
		r.writeWork(&b, w)
	}
	return b.String()
}

func (r report) writeEntrants(b *strings.Builder) {
	b.WriteString("| contestant | what | version | TLS | binary of the front |\n|---|---|---|---|--:|\n")
	for _, e := range r.entrants {
		binary := "–"
		if e.binary > 0 {
			binary = fmt.Sprintf("%.1f MiB", mebibytes(e.binary))
		}
		about := e.about
		if e.missing != "" {
			about += "; **missing**: " + cell(e.missing)
		}
		if e.failed != nil {
			about += "; **failed to start**: " + cell(e.failed.Error())
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", e.name, about, e.version, e.tls, binary)
	}
}

// writeAims writes a row per aim of the works that were done, a column for each of
// ours, and the notes about what was missed. A failed round misses an aim.
func (r report) writeAims(b *strings.Builder) {
	var missed []aim
	fmt.Fprintf(b, "| | bound | %s |\n|---|---|%s\n", strings.Join(ours, " | "), strings.Repeat("--:|", len(ours)))
	reached, judged := 0, 0
	for _, a := range r.aims {
		if !slices.ContainsFunc(r.works, func(w work) bool { return w.name == a.work }) {
			continue
		}
		row, before := "", judged-reached
		for _, who := range ours {
			v, ok := a.judge(r.results, who)
			if !ok {
				row += " – |"
				continue
			}
			judged++
			switch {
			case v.failed:
				row += " failed |"
			case v.reached:
				row += fmt.Sprintf(" %s yes |", proportion(v.value))
				reached++
			default:
				row += fmt.Sprintf(" %s **no** |", proportion(v.value))
			}
		}
		fmt.Fprintf(b, "| %s | %s |%s\n", a.what, a.bound, row)
		if judged-reached > before {
			missed = append(missed, a)
		}
	}
	fmt.Fprintf(b, "\nReached: %d of %d that were measured.\n", reached, judged)
	for _, a := range missed {
		note := r.notes[a.heading()]
		if note == "" {
			note = "Nobody has explained this yet: `bench/notes.md` is the place."
		}
		fmt.Fprintf(b, "\n### Missed: %s\n\n%s\n", a.heading(), note)
	}
}

// writeWork writes a table with a row per contestant.
func (r report) writeWork(b *strings.Builder, w work) {
	fmt.Fprintf(b, "\n### %s\n\n", w.name)
	if w.about != "" {
		b.WriteString(w.about + "\n\n")
	}
	b.WriteString("| |")
	rule := "|---|"
	for _, m := range w.metrics {
		fmt.Fprintf(b, " %s | ÷ %s | ÷ %s |", m.name, article, stockCaddy)
		rule += "--:|--:|--:|"
	}
	b.WriteString("\n" + rule + "\n")
	for _, e := range r.entrants {
		if e.absent() {
			continue
		}
		fmt.Fprintf(b, "| %s |", e.name)
		for _, m := range w.metrics {
			samples := r.results.samples[key{w.name, m.name, e.name}]
			middle := median(samples)
			fmt.Fprintf(b, " %s | %s | %s |", spread(samples, m.digits),
				proportion(ratio(middle, r.results.median(w.name, m.name, article))),
				proportion(ratio(middle, r.results.median(w.name, m.name, stockCaddy))))
		}
		b.WriteString("\n")
	}
	for _, e := range r.entrants {
		if f := r.results.failures[key{work: w.name, contestant: e.name}]; f.rounds > 0 {
			fmt.Fprintf(b, "\n%s failed in %d rounds: %s\n", e.name, f.rounds, cell(f.last.Error()))
		}
	}
}

// spread writes the median of samples, and what they range over.
func spread(samples []float64, digits int) string {
	if len(samples) == 0 {
		return "–"
	}
	middle := number(median(samples), digits)
	if len(samples) == 1 {
		return middle
	}
	return fmt.Sprintf("%s (%s–%s)", middle, number(slices.Min(samples), digits), number(slices.Max(samples), digits))
}

// number writes a number with digits after the point and with commas.
func number(v float64, digits int) string {
	if math.IsNaN(v) {
		return "–"
	}
	s := strconv.FormatFloat(math.Abs(v), 'f', digits, 64)
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if v < 0 && strings.ContainsAny(whole, "123456789") {
		whole = "−" + whole
	}
	return whole
}

// proportion writes a number that is compared with others of its kind: with
// about three digits, whatever its size.
func proportion(v float64) string {
	switch size := math.Abs(v); {
	case size >= 100:
		return number(v, 0)
	case size >= 10:
		return number(v, 1)
	case size >= 0.1 || size == 0:
		return number(v, 2)
	default:
		return number(v, 4)
	}
}

// cell makes a text fit one cell of a table.
func cell(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "|", "\\|")), " ")
}
