package synologytest

import (
	"crypto/rand"
	"strings"
)

// canary is a secret that is found by searching for it, whatever it stands in: no
// encoding changes its letters and digits.
func canary(kind string) string {
	return "canary" + kind + rand.Text()
}

// digits are n random ones.
func digits(n int) string {
	var b strings.Builder
	for b.Len() < n {
		random := make([]byte, n)
		_, _ = rand.Read(random) // never fails
		for _, c := range random {
			// 250 is the largest multiple of ten in a byte: no digit is likelier.
			if c < 250 && b.Len() < n {
				b.WriteByte('0' + c%10)
			}
		}
	}
	return b.String()
}
