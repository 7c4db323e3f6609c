package doctor

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// columns is the width that all output fits into.
const columns = 80

// Printer writes results for people, as they come.
type Printer struct {
	w      io.Writer
	colour bool

	step  int // of the last result; -1: none yet
	count map[Status]int
}

// NewPrinter makes a printer. With colour, marks and headings have the colours of
// terminals; nothing is said by colour alone.
func NewPrinter(w io.Writer, colour bool) *Printer {
	return &Printer{w: w, colour: colour, step: -1, count: make(map[Status]int)}
}

// The escape sequences of terminals (ECMA-48, SGR).
const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

var marks = map[Status]struct{ mark, colour string }{
	OK:      {"✓", green},
	Wrong:   {"✗", red},
	Unknown: {"?", yellow},
}

// Result writes a result, and before the first one of a step its heading.
func (p *Printer) Result(r Result) {
	if r.Step != p.step {
		if p.step != -1 {
			p.line("")
		}
		if r.Step >= 0 && r.Step < len(steps) {
			p.line(p.in(bold, steps[r.Step]))
		}
		p.step = r.Step
	}
	p.count[r.Status]++
	m := marks[r.Status]
	p.paragraph(p.in(m.colour, m.mark)+" ", "  ", 2, r.Title)
	for _, seen := range r.Seen {
		p.paragraph("    ", "    ", 4, seen)
	}
	if r.Advice != "" {
		p.paragraph("  "+p.in(bold, "→")+" ", "    ", 4, r.Advice)
	}
}

// End writes the last line, which sums up.
func (p *Printer) End() {
	p.line("")
	p.paragraph("", "", 0, sum(p.count[OK], p.count[Wrong], p.count[Unknown]))
}

// sum says in a sentence how many checks had which outcome.
func sum(good, bad, open int) string {
	all := good + bad + open
	switch {
	case all == 0:
		return "No check was made."
	case bad > 0 && open > 0:
		return fmt.Sprintf("%s something to be done; %d could not be made.", numbered(bad, all, "needs", "need"), open)
	case bad > 0:
		return numbered(bad, all, "needs", "need") + " something to be done."
	case open > 0:
		return fmt.Sprintf("Nothing is known to be wrong, but %d of %s could not be made.", open, checksWord(all))
	}
	return fmt.Sprintf("All is well: %s, and nothing to be done.", checksWord(all))
}

// numbered is "1 of 24 checks needs", "3 of 24 checks need".
func numbered(n, of int, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprintf("%d of %s %s", n, checksWord(of), many)
}

func checksWord(n int) string {
	if n == 1 {
		return "1 check"
	}
	return fmt.Sprintf("%d checks", n)
}

// in gives text a colour.
func (p *Printer) in(colour, text string) string {
	if !p.colour {
		return text
	}
	return colour + text + reset
}

func (p *Printer) line(text string) { fmt.Fprintln(p.w, text) }

// paragraph writes text after a prefix, and its further lines after another. Both
// prefixes are that many columns wide.
func (p *Printer) paragraph(first, next string, width int, text string) {
	prefix := first
	for _, line := range wrap(text, columns-width) {
		p.line(strings.TrimRight(prefix+line, " "))
		prefix = next
	}
}

// wrap breaks a text into lines of at most width runes, at least one. Words longer
// than that are cut. What is not printable, such as the escape sequences of a
// terminal in the answer of a server, becomes a question mark.
func wrap(text string, width int) []string {
	var lines []string
	line, length := "", 0
	for _, word := range strings.Fields(text) {
		word = strings.Map(printable, word)
		runes := utf8.RuneCountInString(word)
		if length > 0 && length+1+runes <= width {
			line, length = line+" "+word, length+1+runes
			continue
		}
		if length > 0 {
			lines = append(lines, line)
		}
		for runes > width {
			cut := string([]rune(word)[:width])
			lines = append(lines, cut)
			word, runes = word[len(cut):], runes-width
		}
		line, length = word, runes
	}
	if length > 0 || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// plain is a text in one line, with nothing that could command a terminal: JSON
// keeps some of that.
func plain(text string) string {
	return strings.Map(printable, strings.Join(strings.Fields(text), " "))
}

func printable(r rune) rune {
	if unicode.IsPrint(r) && r != utf8.RuneError {
		return r
	}
	return '?'
}
