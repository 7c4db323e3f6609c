package main

import (
	"math"
	"testing"
)

func TestMedianAndPercentile(t *testing.T) {
	tests := []struct {
		name          string
		values        []float64
		median, ninth float64
	}{
		{"none", nil, math.NaN(), math.NaN()},
		{"one", []float64{3}, 3, 3},
		{"odd, not sorted", []float64{9, 1, 5}, 5, 9},
		{"even", []float64{4, 1, 3, 2}, 2.5, 4},
		{"ten", []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 100}, 5.5, 9},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := median(tt.values); !same(got, tt.median) {
				t.Errorf("median: %v instead of %v", got, tt.median)
			}
			if got := percentile(tt.values, 90); !same(got, tt.ninth) {
				t.Errorf("90th percentile: %v instead of %v", got, tt.ninth)
			}
		})
	}
}

// TestMedianKeepsOrder guards the samples: they are in the order of the rounds.
func TestMedianKeepsOrder(t *testing.T) {
	values := []float64{3, 1, 2}
	median(values)
	percentile(values, 99)
	if values[0] != 3 || values[1] != 1 || values[2] != 2 {
		t.Errorf("the samples were sorted: %v", values)
	}
}

func TestRatio(t *testing.T) {
	tests := []struct{ a, b, want float64 }{
		{6, 3, 2},
		{0, 3, 0},
		{1, 0, math.NaN()},
		{math.NaN(), 1, math.NaN()},
		{1, math.NaN(), math.NaN()},
		{math.Inf(1), 1, math.NaN()},
		{1, math.Inf(1), math.NaN()},
	}
	for _, tt := range tests {
		if got := ratio(tt.a, tt.b); !same(got, tt.want) {
			t.Errorf("%v ÷ %v: %v instead of %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
