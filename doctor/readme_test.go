package doctor

import (
	"os"
	"strings"
	"testing"
)

// TestReadme: the README's table has a row for each check.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if !strings.Contains(string(readme), "\n| "+c.title+" | ") {
			t.Errorf("the README's table has no row for %q", c.title)
		}
	}
}
