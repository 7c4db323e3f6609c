package main

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseNotes(t *testing.T) {
	got := parseNotes("# Title\n\nabout\n\n## one\n\nline 1\n\nline 2\n\n## two\nline 3\n\n### not one\n")
	want := map[string]string{"one": "line 1\n\nline 2", "two": "line 3\n\n### not one"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNotesAreAboutAims guards the headings: one that names no aim would never be
// printed.
func TestNotesAreAboutAims(t *testing.T) {
	left := parseNotes(notes)
	for _, a := range aims(fullScale) {
		delete(left, a.heading())
	}
	for heading := range maps.Keys(left) {
		t.Errorf("no aim is %q", heading)
	}
}
