package dnssynology

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func writeFolder(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// startArchive follows a folder, and stops with the test.
func startArchive(t testing.TB, dir string, interval time.Duration, domains ...string) (*Certificates, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	c := &Certificates{Archive: dir, Domains: domains, PollInterval: interval, Logger: zap.New(core)}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c, logs
}

// awaits waits until a certificate is served.
func awaits(t testing.TB, c *Certificates, want *issuedPair) {
	t.Helper()
	name := want.leaf.DNSNames[0]
	testenv.Eventually(t, "the certificate of "+name, func() error {
		got, err := c.Certificate(hello(name))
		if err != nil {
			return err
		}
		if got == nil || !got.Leaf.Equal(want.leaf) {
			return errors.New("it is another one, or none")
		}
		return nil
	})
}

// The archive comes late, changes as DSM does it, goes, and comes back.
func TestArchiveIsFollowed(t *testing.T) {
	const name = "example.synology.me"
	a := newPairAuthority(t)
	key := newECDSAKey(t)
	var issued []*issuedPair
	for i := range 5 {
		issued = append(issued, a.issue(t, key, 50*day-time.Duration(i)*day, 60*day, name))
	}
	dir := filepath.Join(t.TempDir(), "_archive")
	c, logs := startArchive(t, dir, 0, name)
	servesNothing(t, c, name, "no certificate for example.synology.me yet")
	if n := warnings(logs); n != 1 {
		t.Errorf("%d warnings, want one", n)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFolder(t, filepath.Join(dir, "AbC123"), issued[0].files(""))
	writeFolder(t, dir, map[string][]byte{"DEFAULT": []byte("nothing"), "INFO": []byte("{}")})
	awaits(t, c, issued[0])
	writeFolder(t, filepath.Join(dir, "AbC123"), issued[1].files("")) // in its place
	awaits(t, c, issued[1])
	writeFolder(t, filepath.Join(dir, "XyZ789"), issued[2].files("ECC-")) // in another one
	awaits(t, c, issued[2])
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	writeFolder(t, filepath.Join(dir, "AbC123"), issued[3].files("")) // all of it
	awaits(t, c, issued[3])
	writeFolder(t, filepath.Join(dir, "AbC123"), issued[0].files("")) // an older one
	writeFolder(t, filepath.Join(dir, "files"), issued[4].files(""))
	awaits(t, c, issued[4])
}

// The folder may hold the files itself.
func TestArchiveIsOneFolder(t *testing.T) {
	a := newPairAuthority(t)
	p := a.issue(t, newECDSAKey(t), day, 90*day, "example.synology.me")
	dir := t.TempDir()
	writeFolder(t, dir, p.files("ECC-"))
	writeFolder(t, dir, a.issue(t, rsaTestKey(), day, 90*day, "example.synology.me").files("RSA-"))
	c, _ := startArchive(t, dir, 0)
	if n := len(c.table.Load().pairs); n != 2 {
		t.Errorf("%d pairs", n)
	}
}

// What is no regular file in the archive is not read.
func TestArchiveIsStrict(t *testing.T) {
	p := newPairAuthority(t).issue(t, newECDSAKey(t), day, 90*day, "example.synology.me")
	tests := []struct {
		name, err string // empty: it is served
		make      func(dir string) error
	}{
		{name: "links in the archive", make: func(dir string) error {
			return errors.Join(os.Rename(dir+"/AbC123/cert.pem", dir+"/real"), os.Symlink("../real", dir+"/AbC123/cert.pem"),
				os.Rename(dir+"/AbC123", dir+"/.real"), os.Symlink(".real", dir+"/AbC123"))
		}},
		{name: "link out of it", err: "escapes", make: func(dir string) error {
			return errors.Join(os.Rename(dir+"/AbC123/privkey.pem", dir+"/../key"), os.Symlink("../../key", dir+"/AbC123/privkey.pem"))
		}},
		{name: "absolute link", err: "escapes", make: func(dir string) error {
			return errors.Join(os.Rename(dir+"/AbC123/privkey.pem", dir+"/key"), os.Symlink(dir+"/key", dir+"/AbC123/privkey.pem"))
		}},
		{name: "folder out of it", err: "no certificate", make: func(dir string) error {
			return errors.Join(os.Rename(dir+"/AbC123", dir+"/../other"), os.Symlink("../other", dir+"/AbC123"))
		}},
		{name: "pipe", err: "not a regular file", make: func(dir string) error {
			return errors.Join(os.Remove(dir+"/AbC123/privkey.pem"), syscall.Mkfifo(dir+"/AbC123/privkey.pem", 0o600))
		}},
		{name: "folder as a file", err: "not a regular file", make: func(dir string) error {
			return errors.Join(os.Remove(dir+"/AbC123/privkey.pem"), os.Mkdir(dir+"/AbC123/privkey.pem", 0o700))
		}},
		{name: "large", err: "more than 16384 bytes", make: func(dir string) error {
			return os.Truncate(dir+"/AbC123/privkey.pem", maxKeyFile+1)
		}},
		{name: "many folders", err: "more than 256 folders", make: func(dir string) error {
			for i := range maxFolders {
				if err := os.Mkdir(fmt.Sprintf("%s/0%d", dir, i), 0o700); err != nil {
					return err
				}
			}
			return nil
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "_archive")
			writeFolder(t, filepath.Join(dir, "AbC123"), p.files(""))
			if err := test.make(dir); err != nil {
				t.Fatal(err)
			}
			c, logs := startArchive(t, dir, 0, "example.synology.me")
			if test.err == "" {
				serves(t, c, "example.synology.me", p.one(t))
				return
			}
			servesNothing(t, c, "example.synology.me", "no certificate")
			var told []string
			for _, e := range logs.FilterLevelExact(zapcore.WarnLevel).All() {
				told = append(told, fmt.Sprint(e.ContextMap()["error"]))
			}
			if !strings.Contains(strings.Join(told, "\n"), test.err) {
				t.Errorf("%q says nothing of %q", told, test.err)
			}
		})
	}
}

// Guards against entries that were cut off without a word, and against a reading
// that called itself complete though something was left out: the rest would count
// as gone.
func TestArchiveLimits(t *testing.T) {
	tests := []struct {
		name           string
		files, folders int
		err            string // empty: it is complete
	}{
		{name: "as many entries as may be", files: maxEntries},
		{name: "an entry more", files: maxEntries + 1, err: "more than 4096 entries"},
		{name: "as many folders as may be", folders: maxFolders},
		{name: "a folder more", folders: maxFolders + 1, err: "more than 256 folders"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for i := range test.files {
				if err := os.WriteFile(fmt.Sprintf("%s/file%d", dir, i), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for i := range test.folders {
				if err := os.Mkdir(fmt.Sprintf("%s/folder%d", dir, i), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			r := (&archive{dir: dir, watcher: &dirWatcher{archive: dir}}).look(t.Context(), nil)
			var told []string
			for _, p := range r.problems {
				told = append(told, p.err.Error())
			}
			if r.complete != (test.err == "") || (len(told) == 0) != (test.err == "") || !strings.Contains(strings.Join(told, ";"), test.err) {
				t.Errorf("complete %v, told %q, want %q", r.complete, told, test.err)
			}
		})
	}
}

func TestArchiveExplains(t *testing.T) {
	a := &archive{dir: "/certificates"}
	tests := []struct {
		err  *fs.PathError
		want []string
	}{
		{&fs.PathError{Op: "openat", Path: "x", Err: syscall.EACCES}, []string{"reading /certificates/x/privkey.pem: permission denied", "as root", "read-only"}},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}, []string{"mount", "/usr/syno/etc/certificate/_archive"}},
	}
	for _, test := range tests {
		for _, want := range test.want {
			if got := a.explain("x/privkey.pem", test.err); !strings.Contains(got.Error(), want) || !errors.Is(got, test.err.Err) {
				t.Errorf("%v, want %q", got, want)
			}
		}
	}
}

// A renewer writes folders as badly as it can.
type renewer struct {
	dir    string
	folder string
	tick   <-chan time.Time // between two writes
	t      testing.TB
}

func (r *renewer) check(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Error(err)
	}
}

// write writes a file in pieces, in its place or aside.
func (r *renewer) write(name string, data []byte) {
	path := filepath.Join(r.dir, r.folder, name)
	if rand.IntN(4) == 0 {
		r.check(os.WriteFile(path+".tmp", data, 0o400))
		r.check(os.Rename(path+".tmp", path))
		return
	}
	if rand.IntN(3) == 0 {
		r.check(os.Remove(path))
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	r.check(err)
	defer f.Close()
	cut, ticks := rand.IntN(len(data)), 1
	if at := bytes.LastIndex(data, []byte("-----BEGIN CERT")); at > 0 && rand.IntN(2) == 0 {
		cut, ticks = at, 5 // a shorter chain, which looks whole, and does so for a while
	}
	for ; len(data) > 0; cut = len(data) {
		_, err = f.Write(data[:cut])
		r.check(err)
		data = data[cut:]
		for range ticks {
			<-r.tick
		}
	}
}

// renew replaces the certificate, in the folder or in another one.
func (r *renewer) renew(i int, p *issuedPair) {
	old := r.folder
	if rand.IntN(2) == 0 {
		r.folder = fmt.Sprintf("id%04d", i)
		if rand.IntN(2) == 0 {
			r.check(os.RemoveAll(filepath.Join(r.dir, old))) // first
		}
		r.check(os.MkdirAll(filepath.Join(r.dir, r.folder), 0o700))
		r.check(os.WriteFile(filepath.Join(r.dir, "DEFAULT"), []byte(r.folder), 0o600))
	}
	files := p.files([]string{"", "ECC-"}[i%2])
	files[renewFile] = []byte(`{"domains" : "example.synology.me"}`)
	if i%5 == 0 {
		delete(files, fullchainFile)
		r.check(os.Remove(filepath.Join(r.dir, r.folder, fullchainFile)))
		r.check(os.Remove(filepath.Join(r.dir, r.folder, "ECC-"+fullchainFile)))
	}
	for name, data := range files { // in any order
		r.write(name, data)
	}
	if old != r.folder {
		r.check(os.RemoveAll(filepath.Join(r.dir, old)))
	}
}

// The rotation of the issue: renewals of the folder, written slowly, torn, in the
// wrong order and with other ids, under new connections all the time. Not one
// handshake fails, and none gets an older certificate than one before it. REQUIRE=time
// makes it the issue's 200 renewals, in half a minute.
func TestRotation(t *testing.T) {
	renewals, length := 16, time.Second
	if testenv.Long() {
		renewals, length = 200, 7*time.Second
	}
	t.Run("read after events", func(t *testing.T) { rotate(t, renewals, length, 0) })
	t.Run("read at any moment", func(t *testing.T) { rotate(t, renewals, length, 20*time.Millisecond) })
}

func rotate(t *testing.T, renewals int, length, interval time.Duration) {
	const name = "example.synology.me"
	a := newPairAuthority(t)
	var issued []*issuedPair
	for i := range renewals + 1 {
		issued = append(issued, a.issue(t, newECDSAKey(t), day-time.Duration(i)*time.Second, 90*day, name))
	}
	dir := filepath.Join(t.TempDir(), "_archive")
	writeFolder(t, filepath.Join(dir, "AbC123"), issued[0].files(""))
	c, logs := startArchive(t, dir, interval, name)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: c.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 1)) // shakes hands, and waits for the end
			})
		}
	})
	defer serving.Wait()
	defer listener.Close()

	var handshakes, newest atomic.Int64
	served := make([]atomic.Bool, len(issued))
	dial := func(ctx context.Context) {
		before := newest.Load()
		dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{RootCAs: a.pool, ServerName: name}}
		conn, err := dialer.DialContext(ctx, "tcp", listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		got := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64() - 1
		if got < before {
			t.Errorf("certificate %d after %d", got, before)
		}
		for at := before; got > at && !newest.CompareAndSwap(at, got); {
			at = newest.Load()
		}
		handshakes.Add(1)
		served[got].Store(true)
	}

	begin := time.Now()
	renewing, done := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-renewing.Done():
				return
			case <-tick.C:
			}
			for ; n < int(50*time.Since(begin).Seconds()); n++ { // 50 connections a second
				working.Go(func() { dial(t.Context()) })
			}
		}
	})
	pace := time.NewTicker(length / time.Duration(renewals) / 10)
	defer pace.Stop()
	r := &renewer{dir: dir, folder: "AbC123", tick: pace.C, t: t}
	for i, p := range issued[1:] {
		r.renew(i, p)
		if i%10 == 9 || i == renewals-1 {
			awaits(t, c, p) // now and then nothing happens
			dial(t.Context())
		}
	}
	done()
	working.Wait()
	dial(t.Context())
	if newest.Load() != int64(renewals) {
		t.Errorf("the last one is %d", newest.Load())
	}
	different := 0
	for i := range served {
		if served[i].Load() {
			different++
		}
	}
	t.Logf("%d handshakes, %d different certificates of %d, %d warnings", handshakes.Load(), different, len(issued), warnings(logs))
	if different < 3 || handshakes.Load() < int64(renewals) {
		t.Error("too few to say anything")
	}
}
