package dnssynology

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of what is read. DSM's own files are far below them.
const (
	maxPEMFile   = 64 << 10 // bytes of a file of certificates, or of renew.json
	maxKeyFile   = 16 << 10 // bytes of a key's file: RSA with 16384 bits fits
	maxPEMBlocks = 32       // certificates in one file
	maxChain     = 8        // intermediate certificates that are sent
)

// Names of files, each of which may begin with one of the prefixes.
const (
	certFile      = "cert.pem"
	chainFile     = "chain.pem"
	fullchainFile = "fullchain.pem"
	keyFile       = "privkey.pem"
	renewFile     = "renew.json" // never with a prefix
)

// prefixes are what DSM 7.3 has before the names where it keeps a pair of each kind.
var prefixes = []string{"", "ECC-", "RSA-"}

// keyKind orders kinds of keys by preference, the best first.
type keyKind int

const (
	kindECDSA keyKind = iota
	kindEd25519
	kindRSA
	kinds
)

func (k keyKind) String() string { return [...]string{"ECDSA", "Ed25519", "RSA"}[k] }

// pair is a certificate with a key that fits it. It is not changed any more.
type pair struct {
	cert  tls.Certificate // Leaf is set; the chain has no root and nothing twice
	names []string        // lower case, may begin with "*."
	kind  keyKind
	whole bool              // the chain is there, or none is needed: the certificate signs itself
	from  string            // where it was found, for the log
	sum   [sha256.Size]byte // of all that is sent
}

func (p *pair) validAt(now time.Time) bool {
	return !now.Before(p.cert.Leaf.NotBefore) && !now.After(p.cert.Leaf.NotAfter)
}

// covers tells whether the certificate is for a name in lower case. A name with
// "*." is covered by the same wildcard only.
func (p *pair) covers(name string) bool {
	return slices.ContainsFunc(p.names, func(san string) bool { return matches(san, name) })
}

// matches tells whether a pattern is the name, or a wildcard for its first label.
func matches(pattern, name string) bool {
	if pattern == name {
		return true
	}
	base, ok := strings.CutPrefix(pattern, "*.")
	if !ok {
		return false
	}
	label, rest, ok := strings.Cut(name, ".")
	return ok && rest == base && label != "" && label != "*"
}

// pairsIn finds the pairs among the files of one folder, by name, which were
// read from there. Each file is parsed by itself, so that it does not matter how
// it ends. An error says why files that are there make no pair: a renewal is
// being written, as a rule.
func pairsIn(from string, files map[string][]byte) ([]*pair, error) {
	var found []*pair
	var errs []error
	for _, prefix := range prefixes {
		if files[prefix+certFile] == nil && files[prefix+fullchainFile] == nil && files[prefix+keyFile] == nil {
			continue
		}
		p, err := newPair(prefix, files)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.from = from
		found = append(found, p)
	}
	return found, errors.Join(errs...)
}

// newPair makes a pair of the files with one prefix, or says what is wrong.
func newPair(prefix string, files map[string][]byte) (*pair, error) {
	key, kind, err := parseKey(files[prefix+keyFile])
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", prefix, keyFile, err)
	}
	// cert.pem and fullchain.pem begin with the same certificate, but for the
	// moment in which only one of them is renewed: the key decides.
	var leaf *x509.Certificate
	var pool []*x509.Certificate
	parsed := map[string][]*x509.Certificate{}
	var errs []error
	for _, name := range slices.Compact([]string{prefix + certFile, prefix + fullchainFile, prefix + chainFile, chainFile}) {
		if files[name] == nil {
			continue
		}
		certs, err := parseCertificates(files[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		pool = append(pool, certs...)
		parsed[name] = certs
		if name == chainFile || name == prefix+chainFile {
			continue
		}
		if fits(certs[0], key) && (leaf == nil || certs[0].NotBefore.After(leaf.NotBefore)) {
			leaf = certs[0]
		}
	}
	switch {
	case len(errs) > 0 && leaf == nil:
		return nil, errors.Join(errs...)
	case leaf == nil && len(pool) == 0:
		return nil, fmt.Errorf("%s%s is missing", prefix, certFile)
	case leaf == nil:
		return nil, fmt.Errorf("%s%s does not fit %s%s", prefix, keyFile, prefix, certFile)
	case len(leaf.DNSNames) == 0:
		return nil, fmt.Errorf("%s%s is for no DNS name", prefix, certFile)
	case !forServers(leaf):
		return nil, fmt.Errorf("%s%s is not for servers", prefix, certFile)
	}
	// A file that was cut between two certificates can't be told by itself.
	if own, full := prefix+chainFile, prefix+fullchainFile; files[own] != nil && files[full] != nil {
		one, _ := chainOf(leaf, parsed[own])
		other, _ := chainOf(leaf, parsed[full])
		if !slices.EqualFunc(one, other, (*x509.Certificate).Equal) {
			return nil, errors.Join(append(errs, fmt.Errorf("%s and %s have different chains", own, full))...)
		}
	}
	chain, whole := chainOf(leaf, pool)
	switch {
	case whole:
	case len(errs) > 0:
		return nil, errors.Join(errs...)
	case slices.ContainsFunc(pool, func(c *x509.Certificate) bool { return c.IsCA && !c.Equal(leaf) }):
		return nil, fmt.Errorf("%s%s does not fit %s%s", prefix, chainFile, prefix, certFile)
	}
	p := &pair{
		cert:  tls.Certificate{PrivateKey: key, Leaf: leaf, Certificate: [][]byte{leaf.Raw}},
		kind:  kind,
		whole: whole,
	}
	for _, c := range chain {
		p.cert.Certificate = append(p.cert.Certificate, c.Raw)
	}
	for _, name := range leaf.DNSNames {
		if name = canonicalName(name); name != "" && !slices.Contains(p.names, name) {
			p.names = append(p.names, name)
		}
	}
	p.sum = sha256.Sum256(bytes.Join(p.cert.Certificate, nil))
	return p, nil
}

// canonicalName is a name as names are compared: in lower case, without a final dot.
func canonicalName(name string) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
}

// chainOf returns the certificates of pool that lead from leaf up to a root,
// without the root: clients have it, and do not take it from us. It is not whole
// if not even the leaf's own issuer is there.
func chainOf(leaf *x509.Certificate, pool []*x509.Certificate) (chain []*x509.Certificate, whole bool) {
	at := leaf
	for len(chain) < maxChain && !selfIssued(at) {
		i := slices.IndexFunc(pool, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, at.RawIssuer) && !slices.ContainsFunc(chain, c.Equal) && at.CheckSignatureFrom(c) == nil
		})
		if i < 0 {
			return chain, len(chain) > 0
		}
		if at = pool[i]; !selfIssued(at) {
			chain = append(chain, at)
		}
	}
	return chain, true
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// parseCertificates returns the certificates of a file, at least one. A block
// that begins and does not end is an error: the file is being written.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		if len(certs) == maxPEMBlocks {
			return nil, fmt.Errorf("more than %d certificates", maxPEMBlocks)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("no certificate: %w", err)
		}
		certs = append(certs, c)
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, errors.New("it ends in the middle of a certificate")
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return certs, nil
}

// parseKey returns the private key of a file. Its errors have nothing of the key.
func parseKey(data []byte) (crypto.Signer, keyKind, error) {
	if data == nil {
		return nil, 0, errors.New("the file is missing")
	}
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, 0, errors.New("no private key in it")
		}
		data = rest
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PARAMETERS":
			continue // openssl writes them before the key
		default:
			return nil, 0, fmt.Errorf("a block of type %.40q in the place of the private key", block.Type)
		}
		if err != nil {
			return nil, 0, errors.New("the private key cannot be parsed")
		}
		switch key := key.(type) {
		case *ecdsa.PrivateKey:
			return key, kindECDSA, nil
		case ed25519.PrivateKey:
			return key, kindEd25519, nil
		case *rsa.PrivateKey:
			return key, kindRSA, nil
		}
		return nil, 0, errors.New("the private key is of a kind that TLS does not use")
	}
}

func fits(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

func forServers(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 || slices.ContainsFunc(c.ExtKeyUsage, func(u x509.ExtKeyUsage) bool {
		return u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageAny
	})
}

// best returns the pairs to serve for a name, the best kind first. Of a kind it
// is the newest one of those that are valid now; if none is, the one that ends
// last. Where one kind is worse off, for want of a chain or of time, it is left
// out.
//
// What was found and what is kept, because it is served and was found before,
// have the same chances: an older pair does not replace a newer one that is
// gone. But if there is clearly nothing more to come, a kept pair of one kind
// makes way for a newer one of the other.
func best(name string, found, kept []*pair, clean bool, now time.Time) []*pair {
	var byKind [kinds]*pair
	var newest *pair // of what was found, if it is all right
	for _, p := range found {
		if !p.covers(name) {
			continue
		}
		if byKind[p.kind] == nil || better(p, byKind[p.kind], now) {
			byKind[p.kind] = p
		}
		if p.grade(now) == bestGrade && (newest == nil || better(p, newest, now)) {
			newest = p
		}
	}
	for _, p := range kept {
		gone := clean && newest != nil && !p.cert.Leaf.NotBefore.After(newest.cert.Leaf.NotBefore)
		if p.covers(name) && !gone && (byKind[p.kind] == nil || better(p, byKind[p.kind], now)) {
			byKind[p.kind] = p
		}
	}
	grade := -1
	for _, p := range byKind {
		if p != nil {
			grade = max(grade, p.grade(now))
		}
	}
	var pairs []*pair
	for _, p := range byKind {
		if p != nil && p.grade(now) == grade {
			pairs = append(pairs, p)
		}
	}
	return pairs
}

const bestGrade = 3

// grade is higher for what is valid now, and then for what has its chain.
func (p *pair) grade(now time.Time) int {
	grade := 0
	if p.validAt(now) {
		grade += 2
	}
	if p.whole {
		grade++
	}
	return grade
}

// shortens tells whether p would be served in the place of q, which is good, with
// fewer certificates of the same issuer: one may be missing.
func (p *pair) shortens(q *pair, now time.Time) bool {
	return p.kind == q.kind && q.grade(now) == bestGrade && len(p.cert.Certificate) < len(q.cert.Certificate) &&
		bytes.Equal(p.cert.Leaf.RawIssuer, q.cert.Leaf.RawIssuer) && slices.ContainsFunc(q.names, p.covers) && better(p, q, now)
}

// better tells whether p is to be served rather than q.
func better(p, q *pair, now time.Time) bool {
	if p.grade(now) != q.grade(now) {
		return p.grade(now) > q.grade(now)
	}
	begin := p.cert.Leaf.NotBefore.Compare(q.cert.Leaf.NotBefore)
	end := p.cert.Leaf.NotAfter.Compare(q.cert.Leaf.NotAfter)
	if !p.validAt(now) {
		begin, end = end, begin
	}
	return cmp.Or(begin, end, len(p.cert.Certificate)-len(q.cert.Certificate), bytes.Compare(p.sum[:], q.sum[:])) > 0
}
