package dnssynology

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// scriptedSource finds what the test says.
type scriptedSource struct {
	mu      sync.Mutex
	reading reading
	looks   []time.Time
	hints   chan struct{}
	closed  bool
}

func newScriptedSource(pairs ...*pair) *scriptedSource {
	return &scriptedSource{hints: make(chan struct{}, 1), reading: reading{pairs: pairs, complete: true}}
}

func (s *scriptedSource) look(context.Context, func(string) *pair) reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks = append(s.looks, time.Now())
	return s.reading
}

func (s *scriptedSource) set(r reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = r
}

// times returns when it was looked.
func (s *scriptedSource) times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.looks)
}

func (s *scriptedSource) changes() <-chan struct{} { return s.hints }

func (s *scriptedSource) pace() (first, most, patience time.Duration) {
	return time.Second, time.Minute, 3 * time.Second
}

func (s *scriptedSource) close(context.Context) error { s.closed = true; return nil }

// startScripted starts certificates with a source, and stops them with the test.
func startScripted(t *testing.T, s source, domains ...string) (*Certificates, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	c := &Certificates{Domains: domains, PollInterval: time.Minute, Logger: zap.New(core)}
	c.start(t.Context(), s)
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c, logs
}

func hello(name string) *tls.ClientHelloInfo { return &tls.ClientHelloInfo{ServerName: name} }

func serves(t *testing.T, c *Certificates, name string, want *pair) {
	t.Helper()
	got, err := c.Certificate(hello(name))
	if err != nil || got == nil || !got.Leaf.Equal(want.cert.Leaf) {
		t.Errorf("%s: %v, %v, want serial %s", name, got != nil, err, want.cert.Leaf.SerialNumber)
	}
}

func servesNothing(t *testing.T, c *Certificates, name, want string) {
	t.Helper()
	got, err := c.Certificate(hello(name))
	if got != nil || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, %v, want the error %q", name, got != nil, err, want)
	}
}

func warnings(logs *observer.ObservedLogs) int { return logs.FilterLevelExact(zapcore.WarnLevel).Len() }

func TestStartRefuses(t *testing.T) {
	for _, c := range []*Certificates{{Logger: zap.NewNop()}, {Archive: t.TempDir(), DSM: &DSM{}, Logger: zap.NewNop()}} {
		if err := c.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "exactly one") {
			t.Error(err)
		}
		servesNothing(t, c, "a.example", "not read yet")
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestNames(t *testing.T) {
	a := newPairAuthority(t)
	key := newECDSAKey(t)
	p := a.issue(t, key, day, 90*day, "Example.synology.me", "*.example.synology.me").one(t)
	q := a.issue(t, key, day, 90*day, "one.deep.example", "two.deep.example").one(t)
	t.Run("all", func(t *testing.T) {
		c, _ := startScripted(t, newScriptedSource(p, q))
		serves(t, c, "example.synology.me", p)
		serves(t, c, "EXAMPLE.synology.ME", p)
		serves(t, c, "a.example.synology.me", p)
		serves(t, c, "one.deep.example", q)
		for _, name := range []string{"", ".", "x.y.example.synology.me", "synology.me", ".example.synology.me", "three.deep.example", "192.0.2.1"} {
			servesNothing(t, c, name, "")
		}
	})
	t.Run("some", func(t *testing.T) {
		c, logs := startScripted(t, newScriptedSource(p, q), "a.example.synology.me", "*.deep.example", "Missing.example.")
		serves(t, c, "a.example.synology.me", p)
		serves(t, c, "one.deep.example", q)
		servesNothing(t, c, "example.synology.me", "")
		servesNothing(t, c, "b.example.synology.me", "")
		servesNothing(t, c, "three.deep.example", "no certificate for *.deep.example yet")
		servesNothing(t, c, "missing.example", "no certificate for missing.example yet")
		if n := warnings(logs); n != 1 {
			t.Errorf("%d warnings", n)
		}
	})
	t.Run("nothing is known", func(t *testing.T) {
		s := newScriptedSource()
		s.set(reading{problems: []problem{{where: "archive", err: errors.New("not mounted")}}})
		c, logs := startScripted(t, s)
		servesNothing(t, c, "example.synology.me", "could not be read yet")
		if n := warnings(logs); n != 1 {
			t.Errorf("%d warnings", n)
		}
	})
	t.Run("there is nothing", func(t *testing.T) {
		c, _ := startScripted(t, newScriptedSource())
		servesNothing(t, c, "example.synology.me", "")
		if _, _, ok := c.Expiry(); ok {
			t.Error("an expiry of nothing")
		}
	})
}

// A client that knows RSA only gets it, others ECDSA.
func TestKinds(t *testing.T) {
	a := newPairAuthority(t)
	ec, r := a.issue(t, newECDSAKey(t), 9*day, 80*day, "example.synology.me").one(t), a.issue(t, rsaTestKey(), day, 90*day, "example.synology.me").one(t)
	c, _ := startScripted(t, newScriptedSource(r, ec), "example.synology.me")
	tests := []struct {
		name   string
		client *tls.Config
		want   *pair
	}{
		{"TLS 1.3", &tls.Config{}, ec},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, ec},
		{"RSA only", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, r},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.client.RootCAs, test.client.ServerName = a.pool, "example.synology.me"
			near, far := net.Pipe()
			server := tls.Server(far, &tls.Config{GetCertificate: c.Certificate})
			defer server.Close()
			errs := make(chan error, 1)
			go func() { errs <- server.HandshakeContext(t.Context()) }()
			client := tls.Client(near, test.client)
			defer client.NetConn().Close()
			if err := client.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
			if got := client.ConnectionState().PeerCertificates; !got[0].Equal(test.want.cert.Leaf) || len(got) != 3 {
				t.Errorf("serial %s in a chain of %d", got[0].SerialNumber, len(got))
			}
		})
	}
}

func TestCertificateAllocates(t *testing.T) {
	a := newPairAuthority(t)
	p := a.issue(t, newECDSAKey(t), day, 90*day, "example.synology.me", "*.example.synology.me").one(t)
	c, _ := startScripted(t, newScriptedSource(p), "example.synology.me", "*.example.synology.me", "missing.example")
	for _, name := range []string{"example.synology.me", "a.example.synology.me", "missing.example", "other.example", ""} {
		h := hello(name)
		if n := testing.AllocsPerRun(1000, func() { _, _ = c.Certificate(h) }); n != 0 {
			t.Errorf("%q: %v allocations", name, n)
		}
	}
}

// What is worse never replaces what is served; what is better does so at once.
func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newPairAuthority(t)
		issue := func(ago, left time.Duration) *pair {
			return a.issue(t, newECDSAKey(t), ago, left, "example.synology.me").one(t)
		}
		older, first, second := issue(50*day, 40*day), issue(30*day, 60*day), issue(day, 89*day)
		s := newScriptedSource(first)
		c, logs := startScripted(t, s, "example.synology.me")
		torn := problem{where: "AbC123", err: errors.New("privkey.pem does not fit cert.pem")}
		for _, r := range []reading{
			{complete: true},
			{problems: []problem{{where: "archive", err: errors.New("not mounted")}}},
			{complete: true, pairs: []*pair{older}},
			{complete: true, problems: []problem{torn}},
		} {
			s.set(r)
			s.hints <- struct{}{}
			synctest.Wait()
			serves(t, c, "example.synology.me", first)
		}
		time.Sleep(time.Hour) // in synctest's time: it stays so
		synctest.Wait()
		serves(t, c, "example.synology.me", first)
		if n := warnings(logs); n != 1 {
			t.Errorf("%d warnings, want one, of the problem that lasts", n)
		}
		if n := len(s.times()); n < 60 || n > 75 {
			t.Errorf("%d looks in an hour", n)
		}
		s.set(reading{complete: true, pairs: []*pair{second, first}})
		s.hints <- struct{}{}
		synctest.Wait()
		serves(t, c, "example.synology.me", second)
		s.set(reading{complete: true, pairs: []*pair{first}})
		s.hints <- struct{}{}
		synctest.Wait()
		serves(t, c, "example.synology.me", second)
		if n := logs.FilterMessageSnippet("serving").Len(); n != 2 {
			t.Errorf("%d changes were told", n)
		}
		names, notAfter, ok := c.Expiry()
		if !ok || !notAfter.Equal(second.cert.Leaf.NotAfter) || !slices.Equal(names, second.names) {
			t.Error(names, notAfter, ok)
		}
	})
}

// Guards against a chain that is cut between two certificates with nothing to
// compare it to: a renewal with fewer certificates than before waits for a second
// look, and is served if it is still the same then.
func TestShorterChainWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const name = "example.synology.me"
		a := newPairAuthority(t)
		first, renewed := a.issue(t, newECDSAKey(t), 50*day, 40*day, name).one(t), a.issue(t, newECDSAKey(t), day, 89*day, name)
		files := renewed.files("")
		delete(files, fullchainFile)
		files[chainFile] = certPEM(a.intermediate)
		short, err := pairsIn("test", files)
		if err != nil || len(short) != 1 {
			t.Fatalf("%d pairs, %v", len(short), err)
		}
		s := newScriptedSource(first)
		c, logs := startScripted(t, s, name)
		look := func(pairs ...*pair) {
			s.set(reading{complete: true, pairs: pairs})
			s.hints <- struct{}{}
			synctest.Wait()
		}
		look(short...)
		serves(t, c, name, first)
		look(short...) // too soon to say more
		serves(t, c, name, first)
		look()
		time.Sleep(5 * time.Second)
		look(short...) // not the same look after look
		serves(t, c, name, first)
		time.Sleep(1500 * time.Millisecond) // it is looked at again
		synctest.Wait()
		serves(t, c, name, short[0])
		look(renewed.one(t))
		if got, err := c.Certificate(hello(name)); err != nil || len(got.Certificate) != 3 {
			t.Error(err, "the longer chain is not served")
		}
		if warnings(logs) != 0 {
			t.Errorf("%d warnings", warnings(logs))
		}
	})
}

// After a problem it is looked again soon, then less and less often.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScriptedSource()
		begin := time.Now()
		_, _ = startScripted(t, s, "example.synology.me")
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		var at []time.Duration
		for _, look := range s.times() {
			at = append(at, look.Sub(begin)/time.Second)
		}
		if want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123}; !slices.Equal(at, want) {
			t.Errorf("looks after %d seconds, want %d", at, want)
		}
	})
}

// A renewal that does not come is told once a day from 14 days before the end
// on; a certificate that is for later gets its turn in time.
func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newPairAuthority(t)
		p := a.issue(t, newECDSAKey(t), 70*day, 20*day+time.Hour, "example.synology.me").one(t)
		s := newScriptedSource(p)
		c, logs := startScripted(t, s, "example.synology.me")
		ends := func() int { return logs.FilterMessageSnippet("ends soon").Len() }
		for _, step := range []struct {
			days, told int
		}{{6, 0}, {1, 1}, {1, 2}, {8, 10}} {
			time.Sleep(time.Duration(step.days) * day)
			synctest.Wait()
			if got := ends(); got != step.told {
				t.Errorf("told %d times, want %d", got, step.told)
			}
		}
		next := a.issue(t, newECDSAKey(t), -day-30*time.Second, 90*day, "example.synology.me").one(t)
		s.set(reading{complete: true, pairs: []*pair{p, next}})
		time.Sleep(day + 29*time.Second)
		synctest.Wait()
		serves(t, c, "example.synology.me", p)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		serves(t, c, "example.synology.me", next)
		told := ends()
		time.Sleep(5 * day)
		synctest.Wait()
		if ends() != told {
			t.Error("told though there is a successor")
		}
	})
}

// A folder that is for other names is no problem of ours.
func TestProblemsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPairAuthority(t).issue(t, newECDSAKey(t), day, 90*day, "example.synology.me").one(t)
		s := newScriptedSource()
		s.set(reading{complete: true, pairs: []*pair{p}, problems: []problem{{where: "x", names: []string{"other.example"}, err: errors.New("torn")}}})
		_, logs := startScripted(t, s, "example.synology.me")
		time.Sleep(10*time.Minute + time.Second)
		if warnings(logs) != 0 || len(s.times()) != 11 {
			t.Errorf("%d warnings, %d looks", warnings(logs), len(s.times()))
		}
	})
}

func TestStopWaits(t *testing.T) {
	s := newScriptedSource()
	c := &Certificates{Domains: []string{"a.example"}, PollInterval: time.Minute, Logger: zap.NewNop()}
	ctx, cancel := context.WithCancel(t.Context())
	c.start(ctx, s)
	cancel()
	if err := c.Stop(); err != nil || !s.closed {
		t.Error(err, s.closed)
	}
	<-c.done
	servesNothing(t, c, "a.example", "no certificate")
}

// Pairs of each table are those of its names.
func TestTableEqual(t *testing.T) {
	a := newPairAuthority(t)
	p := a.issue(t, newECDSAKey(t), day, 90*day, "a.example", "*.a.example").one(t)
	one, two := newTable(nil, []*pair{p}, nil, true, time.Now()), newTable(nil, nil, []*pair{p}, false, time.Now())
	if !one.equal(two) || one.equal(nil) || one.equal(newTable(nil, nil, nil, true, time.Now())) {
		t.Error("wrong")
	}
	if names := slices.Collect(maps.Keys(one.wildcard)); !slices.Equal(names, []string{"a.example"}) {
		t.Error(names)
	}
}
