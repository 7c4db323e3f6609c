package testenv

import (
	"bytes"
	"sync"
)

// Output keeps what a program prints, to be read while it runs.
type Output struct {
	mu      sync.Mutex
	printed bytes.Buffer
}

// Write adds to it.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.printed.Write(b)
}

// Log returns what was printed so far.
func (o *Output) Log() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.printed.String()
}
