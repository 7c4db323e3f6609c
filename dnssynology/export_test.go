package dnssynology

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// scriptedDSM is a Web API with certificates.
type scriptedDSM struct {
	t       *testing.T
	mu      sync.Mutex // guards all following fields
	list    []map[string]any
	zips    map[string][]byte
	err     error
	exports []string
	closed  bool
}

func (d *scriptedDSM) call(_ context.Context, api, method string, params map[string]any, out any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if api != "SYNO.Core.Certificate.CRT" || method != "list" || len(params) > 0 {
		d.t.Errorf("%s %s %v", api, method, params)
	}
	if d.err != nil {
		return d.err
	}
	data, err := json.Marshal(map[string]any{"certificates": d.list})
	if err != nil {
		return err
	}
	return json.Unmarshal(data, out)
}

func (d *scriptedDSM) download(_ context.Context, api, method string, params map[string]any) ([]byte, error) {
	if api != "SYNO.Core.Certificate" || method != "export" || len(params) != 2 || params["file"] != "archive" {
		d.t.Errorf("%s %s %v", api, method, params)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id := params["id"].(string)
	d.exports = append(d.exports, id)
	return d.zips[id], d.err
}

func (d *scriptedDSM) close(context.Context) error { d.closed = true; return nil }

// put adds or replaces a certificate.
func (d *scriptedDSM) put(id string, p *issuedPair, more map[string]any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = slices.DeleteFunc(d.list, func(c map[string]any) bool { return c["id"] == id })
	const layout = "Jan _2 15:04:05 2006 GMT"
	entry := map[string]any{
		"id": id, "desc": "", "is_default": true, "is_broken": false, "renewable": true, "key_types": "ECC",
		"valid_from": p.leaf.NotBefore.UTC().Format(layout), "valid_till": p.leaf.NotAfter.UTC().Format(layout),
		"subject":  map[string]any{"common_name": p.leaf.DNSNames[0], "sub_alt_name": p.leaf.DNSNames},
		"services": []any{map[string]any{"service": "default"}},
	}
	maps.Copy(entry, more)
	d.list = append(d.list, entry)
	d.zips[id] = zipped(d.t, p.files(""))
}

// exported returns the ids that were exported so far.
func (d *scriptedDSM) exported() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.exports)
}

func (d *scriptedDSM) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func zipped(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A certificate leaves DSM once, when it is listed as newer than what is served.
func TestExportsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const name = "example.synology.me"
		a := newPairAuthority(t)
		issue := func(ago, left time.Duration, names ...string) *issuedPair {
			return a.issue(t, newECDSAKey(t), ago, left, names...)
		}
		first, second, third := issue(50*day, 40*day, name), issue(day, 89*day, name), issue(time.Hour, 90*day, name)
		d := &scriptedDSM{t: t, zips: map[string][]byte{}}
		d.put("older1", issue(80*day, 10*day, name), nil)
		d.put("AbC123", first, nil)
		d.put("others", issue(day, 90*day, "other.example"), nil)
		c, logs := startScripted(t, newExport(d, "https://nas:5001", []string{name}), name)
		serves(t, c, name, first.one(t))
		expect := func(exports ...string) {
			t.Helper()
			time.Sleep(3 * time.Minute) // of synctest: three intervals
			synctest.Wait()
			if got := d.exported(); !slices.Equal(got, exports) {
				t.Errorf("exported %v, want %v", got, exports)
			}
		}
		expect("AbC123")
		d.put("AbC123", second, nil) // in its place
		expect("AbC123", "AbC123")
		serves(t, c, name, second.one(t))
		d.change(func() { d.list = d.list[:1] }) // it has gone
		expect("AbC123", "AbC123")
		serves(t, c, name, second.one(t))
		if warnings(logs) != 0 {
			t.Errorf("%d warnings", warnings(logs))
		}

		// What can't be exported is tried again, ever less often; what is served stays.
		d.put("XyZ789", third, nil)
		d.change(func() { d.zips["XyZ789"] = d.zips["XyZ789"][:300] })
		before := len(d.exported())
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		serves(t, c, name, second.one(t))
		if n := len(d.exported()) - before; n < 3 || n > 11 || warnings(logs) != 1 {
			t.Errorf("%d exports, %d warnings", n, warnings(logs))
		}
		d.change(func() { d.err = errors.New("DSM refused the login") })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		serves(t, c, name, second.one(t))
		if warnings(logs) != 2 {
			t.Errorf("%d warnings", warnings(logs))
		}
		d.change(func() { d.err = nil })
		d.put("XyZ789", third, nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		serves(t, c, name, third.one(t))
		if err := c.Stop(); err != nil || !d.closed {
			t.Error(err, d.closed)
		}
	})
}

// Guards against a renewal that is missed for good: DSM's list has its dates before
// the exported archive has it, or one kind of two is torn in there. Such an export
// is told, repeated ever less often, and not once more when it is as listed.
func TestExportsAgain(t *testing.T) {
	const name = "example.synology.me"
	a := newPairAuthority(t)
	old, renewed := a.issue(t, newECDSAKey(t), 50*day, 40*day, name), a.issue(t, newECDSAKey(t), day, 89*day, name)
	both := renewed.files("ECC-")
	maps.Copy(both, a.issue(t, rsaTestKey(), day, 89*day, name).files("RSA-"))
	torn := maps.Clone(both)
	torn["RSA-privkey.pem"] = torn["RSA-privkey.pem"][:100]
	tests := []struct {
		name         string
		first, later map[string][]byte // what is exported
		serves       *issuedPair       // at first
		pairs        int               // later
		err          string
	}{
		{name: "the old pair", first: old.files(""), later: renewed.files(""), serves: old, pairs: 1, err: "other dates"},
		{name: "one of two is torn", first: torn, later: both, serves: renewed, pairs: 2, err: "RSA-privkey.pem"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &scriptedDSM{t: t, zips: map[string][]byte{}}
				d.put("AbC123", old, nil)
				core, logs := observer.New(zapcore.WarnLevel)
				c := &Certificates{Domains: []string{name}, PollInterval: 12 * time.Hour, Logger: zap.New(core)}
				c.start(t.Context(), newExport(d, "https://nas:5001", []string{name}))
				defer c.Stop()
				serves(t, c, name, old.one(t))
				d.put("AbC123", renewed, nil)
				d.change(func() { d.zips["AbC123"] = zipped(t, test.first) })
				time.Sleep(13 * time.Hour)
				synctest.Wait()
				serves(t, c, name, test.serves.one(t))
				if told := logs.All(); len(told) != 1 || !strings.Contains(fmt.Sprint(told[0].ContextMap()), test.err) {
					t.Errorf("told %v, want %q once", told, test.err)
				}
				if n := len(d.exported()); n < 5 || n > 20 { // it doubles from a minute to an hour
					t.Errorf("%d exports", n)
				}
				d.change(func() { d.zips["AbC123"] = zipped(t, test.later) })
				time.Sleep(time.Hour)
				synctest.Wait()
				if pairs := c.table.Load().pairs; len(pairs) != test.pairs || !pairs[0].same(renewed.one(t)) {
					t.Errorf("%d pairs, or others, want %d", len(pairs), test.pairs)
				}
				before := len(d.exported())
				time.Sleep(2 * day)
				synctest.Wait()
				if n := len(d.exported()) - before; n != 0 {
					t.Errorf("%d exports of what was exported", n)
				}
			})
		})
	}
}

func TestExportOfAll(t *testing.T) {
	a := newPairAuthority(t)
	p, q := a.issue(t, newECDSAKey(t), day, 90*day, "a.example", "*.a.example"), a.issue(t, rsaTestKey(), day, 90*day, "b.example")
	broken := a.issue(t, newECDSAKey(t), day, 90*day, "c.example")
	d := &scriptedDSM{t: t, zips: map[string][]byte{}}
	d.put("a", p, map[string]any{"valid_to": "old", "subject": map[string]any{"common_name": "A.example"}})
	d.put("b", q, nil)
	d.put("c", broken, map[string]any{"is_broken": true})
	d.put("d", broken, map[string]any{"valid_from": "yesterday"})
	c, logs := startScripted(t, newExport(d, "https://nas:5001", nil))
	serves(t, c, "x.a.example", p.one(t))
	serves(t, c, "b.example", q.one(t))
	if warnings(logs) != 2 || len(d.exports) != 2 {
		t.Error(warnings(logs), d.exports)
	}
}

// The same with the client of the Web API, and a DSM.
func TestExportFromDSM(t *testing.T) {
	const name = "example.synology.me"
	a := newPairAuthority(t)
	first, second := a.issue(t, newECDSAKey(t), 50*day, 40*day, name), a.issue(t, rsaTestKey(), day, 89*day, name)
	d := synologytest.NewDSM(t, synologytest.WithCertificate("", true, first.cert, first.chain, first.key))
	c := &Certificates{
		DSM:     &DSM{URL: d.URL, Account: d.Account, Password: d.Password, Fingerprint: d.Fingerprint},
		Domains: []string{name}, PollInterval: 20 * time.Millisecond, Logger: zap.NewNop(),
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	serves(t, c, name, first.one(t))
	id := d.ReplaceCertificate(d.CertificateIDs()[0], true, second.cert, second.chain, first.key) // not its key
	exported := func(n int) error {
		if got := len(slices.DeleteFunc(d.Requests(), func(r synologytest.DSMRequest) bool { return r.Method != "export" })); got < n {
			return fmt.Errorf("%d exports, want %d", got, n)
		}
		return nil
	}
	testenv.Eventually(t, "an export that does not fit", func() error { return exported(2) })
	serves(t, c, name, first.one(t))
	d.ReplaceCertificate(id, false, second.cert, second.chain, second.key)
	awaits(t, c, second)
	d.Break("<html>portal</html>", 200, 2)
	d.ExpireSessions()
	listed := len(d.Requests())
	testenv.Eventually(t, "more looks", func() error {
		if len(d.Requests()) < listed+5 {
			return errors.New("too few")
		}
		return nil
	})
	serves(t, c, name, second.one(t))
	if err := c.Stop(); err != nil || d.Sessions() != 0 || d.FailedLogins() != 0 {
		t.Error(err, d.Sessions(), d.FailedLogins())
	}
}

// A login that DSM refuses is told, and not repeated.
func TestExportRefused(t *testing.T) {
	d := synologytest.NewDSM(t)
	core, logs := observer.New(zapcore.WarnLevel)
	c := &Certificates{
		DSM:     &DSM{URL: d.URL, Account: d.Account, Password: "wrong", Fingerprint: d.Fingerprint, Memory: nil},
		Domains: []string{"example.synology.me"}, PollInterval: time.Millisecond, Logger: zap.New(core),
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	servesNothing(t, c, "example.synology.me", "no certificate for example.synology.me yet")
	testenv.Eventually(t, "the warning", func() error {
		if logs.Len() == 0 {
			return errors.New("none")
		}
		return nil
	})
	if err := c.Stop(); err != nil || d.FailedLogins() != 1 {
		t.Error(err, d.FailedLogins())
	}
}

func TestUnzip(t *testing.T) {
	p := newPairAuthority(t).issue(t, newECDSAKey(t), day, 90*day, "a.example")
	many := map[string][]byte{}
	for i := range maxZipped + 1 {
		many[fmt.Sprint(i)] = nil
	}
	good := p.files("")
	tests := []struct {
		name string
		data []byte
		want int
		err  string
	}{
		{name: "flat", data: zipped(t, good), want: 4},
		{name: "in a folder", data: zipped(t, map[string][]byte{"archive/cert.pem": p.cert, "archive/../../privkey.pem": p.key, "README": nil}), want: 2},
		{name: "a file twice", data: zipped(t, map[string][]byte{"a/cert.pem": p.cert, "b/cert.pem": p.cert}), err: "twice"},
		{name: "cut off", data: zipped(t, good)[:200], err: "no ZIP archive"},
		{name: "HTML", data: []byte("<html>"), err: "no ZIP archive"},
		{name: "nothing", err: "no ZIP archive"},
		{name: "many files", data: zipped(t, many), err: "more than 32 files"},
		{name: "bomb", data: zipped(t, map[string][]byte{"cert.pem": make([]byte, 4<<20)}), err: "more than 65536 bytes"},
		{name: "large", data: make([]byte, maxZip+1), err: "more than 1048576 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files, err := unzip(test.data)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
			} else if err != nil || len(files) != test.want {
				t.Errorf("%d files, %v", len(files), err)
			}
		})
	}
}

func FuzzArchiveZip(f *testing.F) {
	p := newPairAuthority(f).issue(f, newECDSAKey(f), day, 90*day, "a.example")
	whole := zipped(f, p.files(""))
	f.Add(whole)
	f.Add(whole[:300])
	f.Add(zipped(f, map[string][]byte{"ECC-cert.pem": p.cert, "x/privkey.pem": p.key, "cert.pem": make([]byte, maxPEMFile+1)}))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := unzip(data)
		if err != nil {
			return
		}
		for name, data := range files {
			if len(data) > maxPEMFile || strings.HasSuffix(name, keyFile) && len(data) > maxKeyFile {
				t.Fatalf("%s has %d bytes", name, len(data))
			}
		}
		pairs, _ := pairsIn("fuzz", files)
		for _, p := range pairs {
			checkPair(t, p)
		}
	})
}
