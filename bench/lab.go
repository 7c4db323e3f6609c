package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	hashCost = 10 // the default of registry-passwd
	userName = "bench"
	password = "correct horse battery staple"
	// otherUsers exist to have wrong passwords tried: one has no more of
	// them than would be throttled.
	otherUsers = 64
)

// scale says how much is done.
type scale struct {
	rounds             int
	period             time.Duration // of one measurement of many requests
	attack, flood      time.Duration
	large, huge        int64 // bytes: of the largest blob that is pulled and pushed, and of the one for the growth of memory
	tries              int   // wrong passwords per round
	imageLayer, layers int64 // bytes, and their number
}

// scales of a run for results and of one to see whether everything works.
var (
	fullScale = scale{
		rounds: 5, period: time.Second, attack: 5 * time.Second, flood: time.Minute, large: 256 << 20, huge: 4 << 30,
		tries: 8, imageLayer: 1 << 20, layers: 20,
	}
	quickScale = scale{
		rounds: 1, period: 200 * time.Millisecond, attack: time.Second, flood: 2 * time.Second, large: 16 << 20, huge: 64 << 20,
		tries: 2, imageLayer: 64 << 10, layers: 3,
	}
)

// lab is what all contestants have in common.
type lab struct {
	scale
	dir      string // removed at the end
	programs programs
	htpasswd string
	users    []string
	hash     string // of every user's password
	cert     string // and key: files with PEM
	key      string
	client   *tls.Config
	contents *contents
	seed     string // the registry's folder that all begin with
	blobs    map[int64]content
	manifest string // its digest
}

// programs are the paths of what is started. Empty: there is none.
type programs struct {
	registry, stock, ours, nginx string
}

// newLab builds the programs and makes what they share, in a folder that is
// there.
func newLab(ctx context.Context, dir string, s scale, need func(name string) bool) (*lab, error) {
	l := &lab{
		scale: s, dir: dir, contents: newContents(),
		htpasswd: filepath.Join(dir, "htpasswd"),
		cert:     filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"),
	}
	if err := l.makeCertificate(); err != nil {
		return nil, fmt.Errorf("making the certificate: %w", err)
	}
	if err := l.writeUsers(); err != nil {
		return nil, fmt.Errorf("writing the users: %w", err)
	}
	if err := l.build(ctx, need); err != nil {
		return nil, err
	}
	return l, nil
}

// build builds the programs, as releases are: without symbols.
func (l *lab) build(ctx context.Context, need func(name string) bool) error {
	const registry = "github.com/distribution/distribution/v3"
	bin := filepath.Join(l.dir, "bin")
	build := func(to *string, name string, arguments ...string) error {
		path := filepath.Join(bin, name)
		log.Printf("building %s", name)
		cmd := exec.CommandContext(ctx, "go", slices.Insert(arguments, 1, "-trimpath", "-ldflags=-s -w")...)
		cmd.Env = append(os.Environ(), "GOBIN="+bin, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w: %s", name, err, strings.TrimSpace(string(out)))
		}
		*to = path
		return nil
	}
	version, err := output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", registry))
	if err != nil {
		return err
	}
	// The program has dependencies that go.mod lacks: it is installed by itself.
	if err := build(&l.programs.registry, "registry", "install", registry+"/cmd/registry@"+version); err != nil {
		return err
	}
	if need(stockCaddy) || need(stockBridge) {
		if err := build(&l.programs.stock, "stock-caddy", "build", "-o="+filepath.Join(bin, "stock-caddy"),
			"github.com/caddyserver/caddy/v2/cmd/caddy"); err != nil {
			return err
		}
	}
	l.programs.nginx, _ = exec.LookPath("nginx") // its contestant tells that it is missing
	return build(&l.programs.ours, "caddy", "build", "-o="+filepath.Join(bin, "caddy"),
		"github.com/caddy-nas/caddy-nas-registry/cmd/caddy")
}

// makeCertificate makes the certificate of 127.0.0.1 that all serve, of the
// kind that Let's Encrypt signs for Caddy.
func (l *lab) makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	l.client = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	if err := os.WriteFile(l.cert, certificate, 0o600); err != nil {
		return err
	}
	return os.WriteFile(l.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
}

// writeUsers writes the htpasswd file that all read.
func (l *lab) writeUsers() error {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	if err != nil {
		return err
	}
	// The prefix that the htpasswd program writes and every contestant knows.
	l.hash = "$2y$" + strings.TrimPrefix(string(hash), "$2a$")
	var file strings.Builder
	l.users = []string{userName}
	for i := range otherUsers {
		l.users = append(l.users, otherUser(i))
	}
	for _, name := range l.users {
		fmt.Fprintf(&file, "%s:%s\n", name, l.hash)
	}
	return os.WriteFile(l.htpasswd, []byte(file.String()), 0o600)
}

// otherUser returns the name of a user beside the good one.
func otherUser(i int) string { return fmt.Sprintf("other%02d", i%otherUsers) }

// freeAddress returns an address of this machine at which nothing listens.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
