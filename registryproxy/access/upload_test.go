package access

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestWholeReads: pieces are whole, nothing is lost, and above all a body that
// is cut off is not taken for one that ends.
func TestWholeReads(t *testing.T) {
	const content = "0123456789"
	broken := errors.New("connection reset")
	for _, end := range []error{nil, io.ErrUnexpectedEOF, broken} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"as it is": func(r io.Reader) io.Reader { return r },
			"bytes":    iotest.OneByteReader,
			"halves":   iotest.HalfReader,
			"early":    iotest.DataErrReader, // the error with the last bytes
		} {
			var source io.Reader = strings.NewReader(content)
			if end != nil {
				source = io.MultiReader(source, iotest.ErrReader(end))
			}
			body := wholeReads{io.NopCloser(wrap(source))}
			var got []string
			var err error
			for err == nil {
				var piece [4]byte
				var n int
				if n, err = body.Read(piece[:]); n > 0 {
					got = append(got, string(piece[:n]))
				}
			}
			want := end
			if want == nil {
				want = io.EOF
			}
			if strings.Join(got, " ") != "0123 4567 89" || !errors.Is(err, want) {
				t.Errorf("%s, then %v: %q, then %v", name, want, got, err)
			}
		}
	}
}
