package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
	"math/rand/v2"
)

const tailSize = 8

// contents makes blobs that no registry has: they differ in their last bytes,
// so that each costs one hash of those and not of gigabytes.
type contents struct {
	block  []byte // that repeats
	states map[int64]hash.Cloner
	next   uint64
}

func newContents() *contents {
	block := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte([]byte("the same blobs for all and ever.")))
	_, _ = random.Read(block) // never fails
	return &contents{block: block, states: make(map[int64]hash.Cloner)}
}

// content is a blob.
type content struct {
	size   int64
	digest string // with its algorithm
	block  []byte
	tail   [tailSize]byte
}

// make returns a new blob of at least tailSize bytes.
func (c *contents) make(size int64) content {
	made := content{size: size, block: c.block}
	c.next++
	binary.BigEndian.PutUint64(made.tail[:], c.next)
	state, ok := c.states[size]
	if !ok {
		state = sha256.New().(hash.Cloner)
		_, _ = io.CopyN(state, made.reader(0, size), size-tailSize) // neither fails
		c.states[size] = state
	}
	sum, err := state.Clone()
	if err != nil {
		panic(err) // SHA-256 of the standard library can be cloned
	}
	_, _ = sum.Write(made.tail[:]) // never fails
	made.digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return made
}

// reader returns n bytes from an offset.
func (c content) reader(offset, n int64) io.Reader {
	return &contentReader{content: c, offset: offset, end: offset + n}
}

type contentReader struct {
	content
	offset, end int64
}

func (r *contentReader) Read(p []byte) (int, error) {
	if r.offset == r.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.end-r.offset)]
	body := r.size - tailSize
	var n int
	if r.offset >= body {
		n = copy(p, r.tail[r.offset-body:])
	} else {
		p = p[:min(int64(len(p)), body-r.offset)]
		n = copy(p, r.block[r.offset%int64(len(r.block)):])
	}
	r.offset += int64(n)
	return n, nil
}
