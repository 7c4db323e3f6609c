package dnssynology

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	for listed, want := range map[string]string{
		`"value"`:           "value",
		`value`:             "value",
		`with spaces`:       "with spaces",
		`""`:                "",
		`"a" "b"`:           "ab",
		"\"a\"\t\"b\"":      "ab",
		`"a\"b\\c"`:         `a"b\c`,
		`"\195\164"`:        "ä",
		`"quoted \"inside"`: `quoted "inside`,
	} {
		if got, err := parseText(listed); err != nil || got != want {
			t.Errorf("%s is %q, %v", listed, got, err)
		}
	}
	for _, bad := range []string{`"`, `"a`, `"a\`, `"a\"`, `"\25`, `"\256"`, `"\2x5"`, `"a" b`, `a\`} {
		if got, err := parseText(bad); err == nil {
			t.Errorf("%s is %q", bad, got)
		}
	}
	if forms := textForms("plain"); len(forms) != 1 || forms[0] != "plain" {
		t.Errorf("%q", forms)
	}
	if forms := textForms("line\nbreak"); len(forms) != 1 || strings.Contains(forms[0], "\n") {
		t.Errorf("a line break would begin a record of its own: %q", forms)
	}
}

// Between quotes, the first form stands for the text, whatever that is.
func FuzzText(f *testing.F) {
	f.Add(`a"b\c`)
	f.Add(strings.Repeat("x", 600))
	f.Add("\n\x00ä")
	f.Fuzz(func(t *testing.T, text string) {
		for i, form := range textForms(text) {
			if i == 0 {
				if got, err := parseText(`"` + form + `"`); err != nil || got != text {
					t.Errorf("%q became %q, %v", text, got, err)
				}
			}
			if strings.ContainsAny(form, "\r\n\x00") {
				t.Errorf("%q has control characters", form)
			}
		}
		parseText(text)
	})
}
