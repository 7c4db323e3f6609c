package dnssynology

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pairAuthority is a root and two intermediate ones, of which the lower issues
// certificates.
type pairAuthority struct {
	root, upper, intermediate *x509.Certificate
	key                       crypto.Signer
	pool                      *x509.CertPool
	mu                        sync.Mutex
	serial                    int64
}

// issuedPair has a certificate's files as DSM writes them: without a final newline.
type issuedPair struct {
	leaf             *x509.Certificate
	cert, chain, key []byte
}

// rsaTestKey is made once: that takes its time.
var rsaTestKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newECDSAKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newPairAuthority(t testing.TB) *pairAuthority {
	t.Helper()
	a := &pairAuthority{key: newECDSAKey(t), pool: x509.NewCertPool()}
	now := time.Now()
	ca := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: now.Add(-1000 * 24 * time.Hour), NotAfter: now.Add(3000 * 24 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	rootKey := newECDSAKey(t)
	a.root = signed(t, ca("root"), ca("root"), rootKey.Public(), rootKey)
	upperKey := newECDSAKey(t)
	a.upper = signed(t, ca("upper"), a.root, upperKey.Public(), rootKey)
	a.intermediate = signed(t, ca("intermediate"), a.upper, a.key.Public(), upperKey)
	a.pool.AddCert(a.root)
	return a
}

func signed(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue makes a certificate that is valid from so long ago, for so long from now.
func (a *pairAuthority) issue(t testing.TB, key crypto.Signer, ago, left time.Duration, names ...string) *issuedPair {
	t.Helper()
	a.mu.Lock()
	a.serial++
	serial := a.serial
	a.mu.Unlock()
	now := time.Now()
	leaf := signed(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: now.Add(-ago), NotAfter: now.Add(left), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.intermediate, key.Public(), a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	chain := slices.Concat(certPEM(a.intermediate), []byte("\n"), certPEM(a.upper))
	return &issuedPair{leaf: leaf, cert: certPEM(leaf), chain: chain, key: pemBlock("PRIVATE KEY", der)}
}

func pemBlock(kind string, der []byte) []byte {
	return bytes.TrimSpace(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func certPEM(c *x509.Certificate) []byte { return pemBlock("CERTIFICATE", c.Raw) }

func (i *issuedPair) fullchain() []byte { return slices.Concat(i.cert, []byte("\n"), i.chain) }

// files returns the files of a folder, with a prefix.
func (i *issuedPair) files(prefix string) map[string][]byte {
	return map[string][]byte{
		prefix + certFile: i.cert, prefix + chainFile: i.chain, prefix + fullchainFile: i.fullchain(), prefix + keyFile: i.key,
	}
}

// one returns the pair of an issued certificate.
func (i *issuedPair) one(t testing.TB) *pair {
	t.Helper()
	pairs, err := pairsIn("test", i.files(""))
	if err != nil || len(pairs) != 1 {
		t.Fatalf("%d pairs, %v", len(pairs), err)
	}
	return pairs[0]
}

const day = 24 * time.Hour

func TestPairsIn(t *testing.T) {
	a, other := newPairAuthority(t), newPairAuthority(t)
	key := newECDSAKey(t)
	p := a.issue(t, key, day, 90*day, "example.synology.me", "*.Example.synology.me")
	older := a.issue(t, key, 9*day, 80*day, "example.synology.me")
	r := a.issue(t, rsaTestKey(), day, 90*day, "example.synology.me")
	alien := other.issue(t, newECDSAKey(t), day, 90*day, "example.synology.me")
	ecDER, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := a.issue(t, edKey, day, 90*day, "example.synology.me")
	with := func(base map[string][]byte, changes ...any) map[string][]byte {
		files := maps.Clone(base)
		for i := 0; i < len(changes); i += 2 {
			delete(files, changes[i].(string))
			if data, _ := changes[i+1].([]byte); data != nil {
				files[changes[i].(string)] = data
			}
		}
		return files
	}
	ecc := with(p.files("ECC-"))
	maps.Copy(ecc, r.files("RSA-"))
	tests := []struct {
		name  string
		files map[string][]byte
		want  []*issuedPair
		chain int // certificates that are sent with each; default 3
		weak  bool
		err   string
	}{
		{name: "all", files: p.files(""), want: []*issuedPair{p}},
		{name: "nothing"},
		{name: "both kinds", files: ecc, want: []*issuedPair{p, r}},
		{name: "one kind with the common chain", files: with(p.files("ECC-"), "ECC-chain.pem", nil, "ECC-fullchain.pem", nil, chainFile, p.chain), want: []*issuedPair{p}},
		{name: "no fullchain", files: with(p.files(""), fullchainFile, nil), want: []*issuedPair{p}},
		{name: "fullchain alone", files: with(p.files(""), certFile, nil, chainFile, nil), want: []*issuedPair{p}},
		{name: "with newlines", files: with(p.files(""), certFile, append(slices.Clone(p.cert), "\r\n\n"...)), want: []*issuedPair{p}},
		{name: "root in the chain", files: with(p.files(""), chainFile, slices.Concat(certPEM(a.root), []byte("\n"), p.chain)), want: []*issuedPair{p}},
		{name: "SEC 1 key", files: with(p.files(""), keyFile, pemBlock("EC PRIVATE KEY", ecDER)), want: []*issuedPair{p}},
		{name: "PKCS 1 key", files: with(r.files(""), keyFile, pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaTestKey().(*rsa.PrivateKey)))), want: []*issuedPair{r}},
		{name: "Ed25519", files: ed.files(""), want: []*issuedPair{ed}},
		{name: "cert.pem renewed, fullchain.pem not, same key", files: with(older.files(""), certFile, p.cert), want: []*issuedPair{p}},
		{name: "fullchain.pem and key renewed, cert.pem not", files: with(p.files(""), certFile, alien.cert), want: []*issuedPair{p}},
		{name: "no chain", files: with(p.files(""), chainFile, nil, fullchainFile, nil), want: []*issuedPair{p}, chain: 1, weak: true},

		{name: "no key", files: with(p.files(""), keyFile, nil), err: "privkey.pem: the file is missing"},
		{name: "key alone", files: map[string][]byte{keyFile: p.key}, err: "cert.pem is missing"},
		{name: "other key", files: with(p.files(""), keyFile, r.key), err: "privkey.pem does not fit cert.pem"},
		{name: "other chain", files: with(p.files(""), chainFile, alien.chain, fullchainFile, nil), err: "chain.pem does not fit cert.pem"},
		{name: "other chain than in fullchain.pem", files: with(p.files(""), chainFile, alien.chain), err: "different chains"},
		{name: "chain.pem cut between two", files: with(p.files(""), chainFile, certPEM(a.intermediate)), err: "chain.pem and fullchain.pem have different chains"},
		{name: "chain.pem cut between two, fullchain.pem of others", files: with(alien.files(""), certFile, p.cert, keyFile, p.key, chainFile, certPEM(a.intermediate)), err: "different chains"},
		{name: "fullchain.pem cut between two", files: with(p.files("ECC-"), "ECC-"+fullchainFile, slices.Concat(p.cert, []byte("\n"), certPEM(a.intermediate))), err: "ECC-chain.pem and ECC-fullchain.pem have different chains"},
		{name: "common chain of others", files: with(p.files("ECC-"), chainFile, alien.chain), want: []*issuedPair{p}},
		{name: "torn key", files: with(p.files(""), keyFile, p.key[:100]), err: "no private key"},
		{name: "torn certificate", files: with(p.files(""), certFile, p.cert[:200], fullchainFile, nil), err: "cert.pem: it ends in the middle"},
		{name: "torn chain", files: with(p.files(""), chainFile, p.chain[:200], fullchainFile, p.fullchain()[:len(p.cert)+20]), err: "chain.pem: it ends in the middle"},
		{name: "empty certificate", files: with(p.files(""), certFile, []byte{}, fullchainFile, []byte{}), err: "cert.pem: no certificate in it"},
		{name: "HTML", files: with(p.files(""), certFile, []byte("<html>"), fullchainFile, nil), err: "no certificate in it"},
		{name: "certificate in the key's place", files: with(p.files(""), keyFile, p.cert), err: `"CERTIFICATE" in the place`},
		{name: "one of two is torn", files: with(ecc, "ECC-cert.pem", p.cert[:99], "ECC-fullchain.pem", nil), want: []*issuedPair{r}, err: "ECC-cert.pem"},
		{name: "many", files: with(p.files(""), chainFile, bytes.Repeat(append(slices.Clone(p.chain), '\n'), 33), fullchainFile, p.cert), err: "more than 32"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pairs, err := pairsIn("test", test.files)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if len(pairs) != len(test.want) {
				t.Fatalf("%d pairs, want %d", len(pairs), len(test.want))
			}
			for i, got := range pairs {
				if !got.cert.Leaf.Equal(test.want[i].leaf) || got.whole == test.weak {
					t.Errorf("pair %d is serial %s, whole %v", i, got.cert.Leaf.SerialNumber, got.whole)
				}
				if n := len(got.cert.Certificate); n != max(test.chain, 1) && (test.chain != 0 || n != 3) {
					t.Errorf("%d certificates are sent", n)
				}
			}
		})
	}
}

// What is cut off anywhere is no pair, or the whole one. Guards against a chain
// that is cut between two certificates: it counted as whole, though fullchain.pem
// was not rewritten yet. Without one, TestShorterChainWaits has what helps.
func TestTornAnywhere(t *testing.T) {
	p := newPairAuthority(t).issue(t, newECDSAKey(t), day, 90*day, "example.synology.me")
	other := newPairAuthority(t).issue(t, newECDSAKey(t), 60*day, 30*day, "example.synology.me")
	want := p.one(t)
	for _, torn := range []string{certFile, chainFile, fullchainFile, keyFile} {
		for full, data := range map[string][]byte{"good": p.fullchain(), "old": other.fullchain(), "missing": nil} {
			files := p.files("")
			if files[fullchainFile] = data; data == nil {
				delete(files, fullchainFile)
			}
			alone := torn == chainFile && data == nil
			shorter := 0
			whole := files[torn]
			for n := range whole {
				files[torn] = whole[:n]
				pairs, err := pairsIn("test", files)
				switch {
				case err != nil || len(pairs) == 1 && pairs[0].same(want):
				case alone && len(pairs) == 1 && len(pairs[0].cert.Certificate) == 2:
					shorter++
				default:
					t.Fatalf("%s with %d bytes, fullchain.pem is %s: %d pairs", torn, n, full, len(pairs))
				}
			}
			if (shorter > 0) != alone {
				t.Errorf("%s, fullchain.pem is %s: %d shorter chains", torn, full, shorter)
			}
		}
	}
}

func TestMatches(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"a.example", "a.example", true},
		{"*.example", "a.example", true},
		{"*.example", "*.example", true},
		{"*.example", "a.b.example", false},
		{"*.example", "example", false},
		{"*.example", ".example", false},
		{"a.example", "*.example", false},
		{"*.xn--bcher-kva.example", "a.xn--bcher-kva.example", true},
	}
	for _, test := range tests {
		if got := matches(test.pattern, test.name); got != test.want {
			t.Errorf("%s, %s: %v", test.pattern, test.name, got)
		}
	}
}

func TestBest(t *testing.T) {
	a := newPairAuthority(t)
	const name = "example.synology.me"
	issue := func(key crypto.Signer, ago, left time.Duration) *pair { return a.issue(t, key, ago, left, name).one(t) }
	ec := newECDSAKey(t)
	old, current := issue(ec, 60*day, 30*day), issue(ec, day, 89*day)
	expired, older := issue(ec, 90*day, -day), issue(ec, 200*day, -100*day)
	future := issue(ec, -day, 90*day)
	oldRSA, newRSA, expiredRSA := issue(rsaTestKey(), 30*day, 60*day), issue(rsaTestKey(), time.Hour, 90*day), issue(rsaTestKey(), 99*day, -9*day)
	weak := *current
	weak.whole = false
	wildcard := a.issue(t, ec, 2*day, 90*day, "*.synology.me").one(t)
	alien := a.issue(t, ec, 0, 90*day, "other.synology.me").one(t)
	tests := []struct {
		name              string
		found, kept, want []*pair
		torn              bool
	}{
		{name: "nothing"},
		{name: "for another name", found: []*pair{alien}},
		{name: "the newest", found: []*pair{old, current, expired}, want: []*pair{current}},
		{name: "a wildcard that is newer", found: []*pair{old, wildcard}, want: []*pair{wildcard}},
		{name: "not yet valid", found: []*pair{future, old}, want: []*pair{old}},
		{name: "none valid: the last to end", found: []*pair{older, expired}, want: []*pair{expired}},
		{name: "ECDSA first", found: []*pair{newRSA, old}, want: []*pair{old, newRSA}},
		{name: "expired ECDSA is left out", found: []*pair{newRSA, expired}, want: []*pair{newRSA}},
		{name: "expired RSA is left out", found: []*pair{expiredRSA, old}, want: []*pair{old}},
		{name: "kept while nothing is there", kept: []*pair{current}, want: []*pair{current}},
		{name: "kept against an older one", found: []*pair{old}, kept: []*pair{current}, want: []*pair{current}},
		{name: "kept against an expired one", found: []*pair{expired}, kept: []*pair{old}, want: []*pair{old}},
		{name: "kept against one without a chain", found: []*pair{&weak}, kept: []*pair{old}, want: []*pair{old}},
		{name: "expired gives way to one without a chain", found: []*pair{&weak}, kept: []*pair{expired}, want: []*pair{&weak}},
		{name: "kept gives way", found: []*pair{current}, kept: []*pair{old}, want: []*pair{current}},
		{name: "the kind has changed", found: []*pair{newRSA}, kept: []*pair{old}, want: []*pair{newRSA}},
		{name: "the kind may have changed", found: []*pair{newRSA}, kept: []*pair{old}, torn: true, want: []*pair{old, newRSA}},
		{name: "the other kind is older", found: []*pair{oldRSA}, kept: []*pair{current}, want: []*pair{current, oldRSA}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := best(name, test.found, test.kept, !test.torn, time.Now())
			if !slices.Equal(got, test.want) {
				t.Errorf("got %d pairs that are others, want %d", len(got), len(test.want))
			}
		})
	}
}

func TestRenewNames(t *testing.T) {
	tests := []struct {
		in   string
		want []string
	}{
		{`{"domains" : "example.synology.me", "server": "x"}`, []string{"example.synology.me"}},
		{`{"domains":"Example.synology.me;*.example.synology.me;"}`, []string{"example.synology.me", "*.example.synology.me"}},
		{`{"domains":["a.example",7,"b.example."]}`, []string{"a.example", "b.example"}},
		{`{"domains":7}`, nil},
		{`{"domains":"a.exam`, nil},
		{``, nil},
	}
	for _, test := range tests {
		if d := cmp.Diff(test.want, renewNames([]byte(test.in))); d != "" {
			t.Errorf("%s: %s", test.in, d)
		}
	}
}

// checkPair fails if a pair that was made of anything could not be served.
func checkPair(t *testing.T, p *pair) {
	t.Helper()
	c := p.cert
	if c.Leaf == nil || !bytes.Equal(c.Certificate[0], c.Leaf.Raw) || !fits(c.Leaf, c.PrivateKey.(crypto.Signer)) || len(p.names) == 0 {
		t.Fatal("a pair that does not fit")
	}
	if len(c.Certificate) > 1+maxChain {
		t.Fatalf("%d certificates in the chain", len(c.Certificate))
	}
	at := c.Leaf
	for _, der := range c.Certificate[1:] {
		next, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if err := at.CheckSignatureFrom(next); err != nil {
			t.Fatal(err)
		}
		at = next
	}
}

func FuzzPEMFolder(f *testing.F) {
	a := newPairAuthority(f)
	key := newECDSAKey(f)
	p, r := a.issue(f, key, day, 90*day, "example.synology.me"), a.issue(f, rsaTestKey(), day, 90*day, "example.synology.me")
	f.Add(p.cert, p.chain, p.fullchain(), p.key, r.cert, r.key, false)
	f.Add(p.cert[:100], p.chain, p.fullchain()[:300], p.key, r.cert, p.key, false)
	f.Add(p.chain, p.cert, []byte("-----BEGIN"), r.key[:200], []byte{}, []byte("-----BEGIN EC PARAMETERS-----\n-----END EC PARAMETERS-----"), false)
	der := func(data []byte) []byte { block, _ := pem.Decode(data); return block.Bytes }
	f.Add(der(p.cert), der(p.chain), der(p.cert), der(p.key), der(r.cert), der(r.key), true)
	f.Fuzz(func(t *testing.T, cert, chain, fullchain, key, cert2, key2 []byte, wrap bool) {
		if wrap { // they are what PEM is around
			cert, chain, fullchain, cert2 = pemBlock("CERTIFICATE", cert), pemBlock("CERTIFICATE", chain), pemBlock("CERTIFICATE", fullchain), pemBlock("CERTIFICATE", cert2)
			key, key2 = pemBlock("PRIVATE KEY", key), pemBlock("PRIVATE KEY", key2)
		}
		pairs, err := pairsIn("fuzz", map[string][]byte{
			certFile: cert, chainFile: chain, fullchainFile: fullchain, keyFile: key, "ECC-cert.pem": cert2, "RSA-privkey.pem": key2, "RSA-cert.pem": cert2,
		})
		if len(pairs) == 0 && err == nil {
			t.Fatal("neither a pair nor an error")
		}
		for _, p := range pairs {
			checkPair(t, p)
			best("example.synology.me", pairs, nil, true, time.Now())
		}
	})
}

func FuzzRenewJSON(f *testing.F) {
	for _, seed := range []string{`{"domains":"a.example;b.example"}`, `{"domains":["a",{}]}`, `{"domains":{"a":[]}}`, `[[[[`, "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range renewNames(data) {
			if name == "" || len(name) > 253 || name != strings.ToLower(name) || strings.Contains(name, ";") && !bytes.Contains(data, []byte("[")) {
				t.Fatalf("%q", name)
			}
		}
	})
}
