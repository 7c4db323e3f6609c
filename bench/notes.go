package main

import (
	_ "embed"
	"strings"
)

// notes are why aims are missed and what was tried, for the report.
//
//go:embed notes.md
var notes string

// parseNotes returns the texts below headings of the second level, by heading.
func parseNotes(markdown string) map[string]string {
	parsed := make(map[string]string)
	for _, section := range strings.Split("\n"+markdown, "\n## ")[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		parsed[heading] = strings.TrimSpace(text)
	}
	return parsed
}
