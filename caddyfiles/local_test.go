// Package caddyfiles_test runs the shipped Caddyfiles as a user would.
package caddyfiles_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// process is `caddy run` with a shipped Caddyfile, in a process of its own.
type process struct {
	pid      int
	url      string
	password string
	client   *http.Client
}

// start runs the quick start with its data in a folder of its own, and logs in
// as admin with the password that it prints.
func start(t *testing.T, caddyfile string) *process {
	t.Helper()
	dir, port := t.TempDir(), strconv.Itoa(testenv.FreePort(t))
	cmd := exec.Command(testenv.BuildCaddy(t), "run", "--config", caddyfile)
	cmd.Env = append(os.Environ(), "REGISTRY_DATA="+dir, "REGISTRY_PORT="+port, "HOME="+dir)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("caddy run ended with %v", err)
		}
	})
	passwords := make(chan string, 1)
	go func() {
		password := regexp.MustCompile(`^    ([A-Z2-7]{26})$`)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if found := password.FindStringSubmatch(lines.Text()); found != nil {
				passwords <- found[1]
			}
		}
	}()
	p := &process{pid: cmd.Process.Pid, url: "https://localhost:" + port}
	select {
	case p.password = <-passwords:
	case <-time.After(30 * time.Second):
		t.Fatal("no password was printed")
	}
	testenv.Eventually(t, "the registry's first answer", func() error {
		roots := x509.NewCertPool()
		root, err := os.ReadFile(filepath.Join(dir, "caddy/pki/authorities/local/root.crt"))
		if err != nil || !roots.AppendCertsFromPEM(root) {
			return fmt.Errorf("root certificate: %w", err)
		}
		p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
		resp, err := p.request(t, http.MethodGet, "/v2/", nil, 0)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
	return p
}

func (p *process) request(t *testing.T, method, path string, body io.Reader, size int64) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	req.SetBasicAuth("admin", p.password)
	return p.client.Do(req)
}

// TestQuickStart is the README's: one command, and the registry answers.
func TestQuickStart(t *testing.T) {
	p := start(t, "local.Caddyfile")
	resp, err := p.request(t, http.MethodGet, "/v2/_catalog", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(bytes.TrimSpace(body)) != `{"repositories":[]}` {
		t.Errorf("the catalog: %s %s %v", resp.Status, body, err)
	}
}

// TestLargeBlob pushes and pulls a blob of 4 GiB in chunks, through Caddy to
// the registry program, and within Caddy. Caddy's resident memory stays small.
func TestLargeBlob(t *testing.T) {
	testenv.Time(t)
	t.Run("embedded", func(t *testing.T) { pushLarge(t, start(t, "local.Caddyfile")) })
	t.Run("to", func(t *testing.T) {
		local, err := os.ReadFile("local.Caddyfile")
		if err != nil {
			t.Fatal(err)
		}
		address := testenv.StartRegistry(t, t.TempDir())
		proxied := regexp.MustCompile(`embedded .*`).ReplaceAll(local, []byte("to "+address))
		path := filepath.Join(t.TempDir(), "to.Caddyfile")
		if err := os.WriteFile(path, proxied, 0o600); err != nil {
			t.Fatal(err)
		}
		pushLarge(t, start(t, path))
	})
}

const (
	largeSize  = 4 << 30
	chunkSize  = 64 << 20
	maxResMiB  = 120
	progressAt = 8 // chunks between two looks at the memory
)

func pushLarge(t *testing.T, p *process) {
	t.Helper()
	resp := p.must(t, http.MethodPost, "/v2/large/blobs/uploads/", nil, 0, http.StatusAccepted)
	location := resp.Header.Get("Location")
	chunk := make([]byte, chunkSize)
	sum := sha256.New()
	for i := range largeSize / chunkSize {
		copy(chunk, fmt.Sprintf("chunk %d", i)) // no two are the same
		sum.Write(chunk)
		resp = p.must(t, http.MethodPatch, location, bytes.NewReader(chunk), chunkSize, http.StatusAccepted)
		location = resp.Header.Get("Location")
		if i%progressAt == 0 {
			p.checkMemory(t, "while pushing")
		}
	}
	digest := fmt.Sprintf("sha256:%x", sum.Sum(nil))
	p.must(t, http.MethodPut, location+"&digest="+digest, nil, 0, http.StatusCreated)

	pulled := sha256.New()
	for i := range largeSize / chunkSize {
		p.pullChunk(t, "/v2/large/blobs/"+digest, int64(i)*chunkSize, pulled)
		if i%progressAt == 0 {
			p.checkMemory(t, "while pulling")
		}
	}
	if got := fmt.Sprintf("sha256:%x", pulled.Sum(nil)); got != digest {
		t.Errorf("pulled %s, pushed %s", got, digest)
	}
	t.Logf("greatest resident memory: %d MiB", p.memory(t, "VmHWM"))
	p.checkMemory(t, "afterwards")
}

// pullChunk writes the chunk of a blob at offset to w.
func (p *process) pullChunk(t *testing.T, path string, offset int64, w io.Writer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", p.password)
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+chunkSize-1))
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	want := fmt.Sprintf("bytes %d-%d/%d", offset, offset+chunkSize-1, int64(largeSize))
	if got := resp.Header.Get("Content-Range"); resp.StatusCode != http.StatusPartialContent || got != want {
		t.Fatalf("pulling: %s, Content-Range %q, want %q", resp.Status, got, want)
	}
	if n, err := io.Copy(w, resp.Body); err != nil || n != chunkSize {
		t.Fatalf("pulling at %d: %d bytes, %v", offset, n, err)
	}
}

func (p *process) must(t *testing.T, method, path string, body io.Reader, size int64, want int) *http.Response {
	t.Helper()
	resp, err := p.request(t, method, path, body, size)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, answer, err)
	}
	return resp
}

func (p *process) checkMemory(t *testing.T, when string) {
	t.Helper()
	if mib := p.memory(t, "VmHWM"); mib >= maxResMiB {
		t.Fatalf("%s Caddy's resident memory reached %d MiB, the limit is %d", when, mib, maxResMiB)
	}
}

// memory returns a line of /proc/<pid>/status, in MiB.
func (p *process) memory(t *testing.T, name string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		testenv.Missing(t, testenv.NeedTime, err.Error())
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatalf("no %s in %s", name, status)
	return 0
}
