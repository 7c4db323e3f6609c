package main

import (
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMarkdown(t *testing.T) {
	w := work{name: "GET /v2/, h1", about: "8 clients.", metrics: []metric{rate, cpuRequest}}
	r := newResults()
	for _, v := range [][]float64{{31, 60}, {30, 61}, {32, 62}} {
		r.add(w, article, v)
	}
	for _, v := range [][]float64{{4000, 0.3}, {5000, 0.25}, {4500, 0.26}} {
		r.add(w, stockCaddy, v)
	}
	for _, v := range [][]float64{{9000, 0.1}, {9900, 0.09}, {12345.6, 0.08}} {
		r.add(w, oursTCP, v)
	}
	r.fail(w, oursUnix, errors.New("answers\nwith | 502"))
	twice := atLeast(2, w.name, rate, stockCaddy, ours)
	less := atMost(0.3, w.name, cpuRequest, stockCaddy, ours)
	least := atMost(0.1, w.name, cpuRequest, stockCaddy, []string{oursTCP})
	got := report{
		heading: "**Quick.**",
		facts:   [][2]string{{"CPU", "two cores"}},
		entrants: []entrant{
			{name: article, about: "the article", version: "v3.1.2", tls: "TLS 1.3", binary: 53 << 20},
			{name: nginxRecipe, about: "the recipe", version: "–", missing: "no program nginx"},
			{name: stockCaddy, about: "as it comes", version: "Caddy v2.11.9"},
			{name: stockBridge, about: "on the bridge", failed: errors.New("it ended: no | such file")},
			{name: oursTCP, about: "ours: `to`", version: "Caddy v2.11.9"},
			{name: oursUnix, about: "ours: `to`", version: "Caddy v2.11.9"},
		},
		works:   []work{w},
		aims:    []aim{twice, less, least, atLeast(1, "another work", rate, stockCaddy, ours)},
		notes:   map[string]string{less.heading(): "The kernel."},
		results: r,
		plot:    "RESULTS.svg",
	}.markdown()
	golden := filepath.Join("testdata", "report.md")
	if flag.Lookup("update").Value.String() == "true" { // of testenv
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNumbers(t *testing.T) {
	tests := []struct {
		value       float64
		digits      int
		number, pro string
	}{
		{math.NaN(), 2, "–", "–"},
		{0, 1, "0.0", "0.00"},
		{0.00123, 3, "0.001", "0.0012"},
		{0.64, 2, "0.64", "0.64"},
		{12.34, 0, "12", "12.3"},
		{999.6, 0, "1,000", "1,000"},
		{1234567.8, 1, "1,234,567.8", "1,234,568"},
		{-1234.5, 1, "−1,234.5", "−1,234"},
		{-0.01, 1, "0.0", "−0.0100"},
	}
	for _, tt := range tests {
		if got := number(tt.value, tt.digits); got != tt.number {
			t.Errorf("number of %v: %q instead of %q", tt.value, got, tt.number)
		}
		if got := proportion(tt.value); got != tt.pro {
			t.Errorf("proportion of %v: %q instead of %q", tt.value, got, tt.pro)
		}
	}
}

// TestPlot draws what there is, also of works that were left out.
func TestPlot(t *testing.T) {
	all := panels(fullScale)
	names := []string{stockCaddy, oursTCP, oursUnix}
	r := given(map[key]float64{
		{all[0].work, all[0].metric.name, stockCaddy}: 4321,
		{all[0].work, all[0].metric.name, oursTCP}:    9876,
	})
	drawn := measured(all, names, r)
	if len(drawn) != 1 || drawn[0].title != all[0].title {
		t.Fatalf("drawn: %v", drawn)
	}
	path := filepath.Join(t.TempDir(), "plot.svg")
	if err := writePlot(path, drawn, names, r); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"<svg", ">" + all[0].title, "> 4,321<", "> 9,876<", "> –<", ">" + oursUnix} {
		if !strings.Contains(string(content), text) {
			t.Errorf("%q is not drawn", text)
		}
	}
}
