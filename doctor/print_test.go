package doctor

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestPrinter(t *testing.T) {
	var out strings.Builder
	p := NewPrinter(&out, false)
	p.Result(Result{ID: "config", Title: "Configuration", Finding: ok("/etc/caddy/docker.Caddyfile")})
	p.Result(Result{ID: "clock", Title: "Clock", Finding: wrong(
		"Turn on the synchronisation of the time (NTP) in the settings of this machine, then look again.", "12m0s behind", "that of acme.example")})
	p.Result(Result{ID: "tls", Step: 3, Title: "TLS", Finding: unknown("", "not looked at: mend \"Caddy\" first")})
	p.End()
	const want = `This machine
✓ Configuration
    /etc/caddy/docker.Caddyfile
✗ Clock
    12m0s behind
    that of acme.example
  → Turn on the synchronisation of the time (NTP) in the settings of this
    machine, then look again.

3  The certificate is served
? TLS
    not looked at: mend "Caddy" first

1 of 3 checks needs something to be done; 1 could not be made.
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestPrinterColour: without the escape sequences it is the same text.
func TestPrinterColour(t *testing.T) {
	render := func(colour bool) string {
		var out strings.Builder
		p := NewPrinter(&out, colour)
		p.Result(Result{Title: "Clock", Finding: wrong("Turn it back.", "ahead")})
		p.Result(Result{Step: 1, Title: "Address", Finding: unknown("", "none")})
		p.End()
		return out.String()
	}
	coloured := render(true)
	if !strings.Contains(coloured, red+"✗"+reset+" Clock") || !strings.Contains(coloured, yellow+"?"+reset+" Address") {
		t.Errorf("no colours: %q", coloured)
	}
	plain := strings.NewReplacer(bold, "", red, "", yellow, "", reset, "").Replace(coloured)
	if got := render(false); got != plain || strings.Contains(got, "\x1b") {
		t.Errorf("got %q, want %q", got, plain)
	}
}

func TestSum(t *testing.T) {
	for _, test := range []struct {
		good, bad, open int
		want            string
	}{
		{0, 0, 0, "No check was made."},
		{1, 0, 0, "All is well: 1 check, and nothing to be done."},
		{24, 0, 0, "All is well: 24 checks, and nothing to be done."},
		{0, 1, 0, "1 of 1 check needs something to be done."},
		{23, 1, 0, "1 of 24 checks needs something to be done."},
		{21, 3, 0, "3 of 24 checks need something to be done."},
		{20, 3, 1, "3 of 24 checks need something to be done; 1 could not be made."},
		{20, 0, 4, "Nothing is known to be wrong, but 4 of 24 checks could not be made."},
	} {
		if got := sum(test.good, test.bad, test.open); got != test.want {
			t.Errorf("%d %d %d: got %q, want %q", test.good, test.bad, test.open, got, test.want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{""}},
		{"fits", "one two", []string{"one two"}},
		{"exact", "abc defghi", []string{"abc defghi"}},
		{"by words", "abc defghij", []string{"abc", "defghij"}},
		{"long word", "see abcdefghijklm too", []string{"see", "abcdefghij", "klm too"}},
		{"twice as long", "abcdefghijklmnopqrst", []string{"abcdefghij", "klmnopqrst"}},
		{"runes", "äöüäöüäöüä öü", []string{"äöüäöüäöüä", "öü"}},
		{"lines", "one\ntwo", []string{"one two"}},
		{"escape", "\x1b[2Jx", []string{"?[2Jx"}},
		{"no UTF-8", "a\xffb", []string{"a?b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := wrap(test.text, 10); strings.Join(got, "|") != strings.Join(test.want, "|") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// FuzzPrinter: whatever is found, the output fits, moves no cursor and loses no
// word.
func FuzzPrinter(f *testing.F) {
	f.Add("Address", "2001:db8:1234:5678:9abc:def0:1234:5678 on eth0 is refused: temporary (privacy) address, preferred for 2 hours", "Do it.", 1)
	f.Add("", strings.Repeat("x", 200), strings.Repeat("ab ", 60), 5)
	f.Add("\x1b[1A", "\r\n\t\u0085\u2028", "ä\xff", -1)
	f.Fuzz(func(t *testing.T, title, seen, advice string, step int) {
		var out strings.Builder
		p := NewPrinter(&out, false)
		for status := range marks {
			p.Result(Result{Step: step, Title: title, Finding: Finding{Status: status, Seen: []string{seen, ""}, Advice: advice}})
		}
		p.End()
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if utf8.RuneCountInString(line) > columns || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q", line)
			}
		}
		squeezed := strings.Join(strings.Fields(out.String()), "")
		for _, text := range []string{title, seen, advice} {
			if want := strings.Map(printable, strings.Join(strings.Fields(text), "")); !strings.Contains(squeezed, want) {
				t.Errorf("%q is not in %q", want, squeezed)
			}
		}
	})
}
