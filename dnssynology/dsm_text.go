package dnssynology

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxString is the length of one string in a TXT record, in bytes (RFC 1035,
// section 3.3.14).
const maxString = 255

// textForms returns what to try as rr_info for a text. DSM puts quotes around it,
// but what it does with quotes and backslashes in it, and with long ones, is not
// known: so first what a zone file needs between two quotes, which is right where
// DSM just adds them, and can't harm the zone where it does more; then the text
// itself.
func textForms(text string) []string {
	var pieces []string
	for chunk := range slices.Chunk([]byte(text), maxString) {
		pieces = append(pieces, escapeText(string(chunk)))
	}
	forms := []string{strings.Join(pieces, `" "`)}
	control := strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
	quoted := len(text) > 1 && strings.HasPrefix(text, `"`) && strings.HasSuffix(text, `"`)
	if forms[0] != text && !control && !quoted {
		forms = append(forms, text)
	}
	return forms
}

// escapeText returns a text as it stands between quotes in a zone file.
func escapeText(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

var errText = errors.New("the text's quotes or escapes don't end")

// parseText reads one string or more of a zone file, with or without quotes, and
// joins them. What has no quotes at all is one string.
func parseText(s string) (string, error) {
	s = strings.Trim(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		return unescapeText(s)
	}
	var b strings.Builder
	for s != "" {
		if s[0] != '"' {
			return "", errText
		}
		end := 1
		for end < len(s) && s[end] != '"' {
			if s[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(s) {
			return "", errText
		}
		piece, err := unescapeText(s[1:end])
		if err != nil {
			return "", err
		}
		b.WriteString(piece)
		s = strings.TrimLeft(s[end+1:], " \t")
	}
	return b.String(), nil
}

// unescapeText replaces \c by c, and \DDD by the byte of that decimal number.
func unescapeText(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case i == len(s):
			return "", errText
		case s[i] < '0' || s[i] > '9':
			b.WriteByte(s[i])
			continue
		case i+3 > len(s):
			return "", errText
		}
		n := 0
		for _, c := range s[i : i+3] {
			if c < '0' || c > '9' {
				return "", errText
			}
			n = n*10 + int(c-'0')
		}
		if n > 255 {
			return "", errText
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}
