package registryproxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// instance is a Caddy in a process of its own.
type instance struct {
	*exec.Cmd
	testenv.Output
}

// startInstance starts a Caddy which says its name in each answer, and waits until
// it serves.
func startInstance(t *testing.T, program, config, name string) *instance {
	t.Helper()
	i := &instance{Cmd: exec.CommandContext(context.WithoutCancel(t.Context()), program, "run", "--config", config)}
	i.Env = append(os.Environ(), "INSTANCE="+name)
	i.Stderr = &i.Output
	if err := i.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Process.Kill() }) // it may have ended
	testenv.Eventually(t, "instance "+name, func() error {
		if !strings.Contains(i.Log(), "serving initial configuration") {
			return errors.New(i.Log())
		}
		return nil
	})
	return i
}

// TestHandover lets one Caddy take over from another at the same port: uploads that
// are running when the first is asked to end go on until they are done, and what is
// new goes to the second.
func TestHandover(t *testing.T) {
	c := testenv.NewCaddy(t) // for its certificate and client; it runs nothing
	program := testenv.BuildCaddy(t)
	server := httptest.NewServer(realRegistry(t))
	t.Cleanup(server.Close)
	config := filepath.Join(c.Dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(`{
	admin off
	persist_config off
	auto_https disable_redirects
	storage file_system `+filepath.Join(c.Dir, "storage")+`
}
https://`+c.Host+` {
	tls `+c.RootFile+` `+filepath.Join(c.Dir, "key.pem")+`
	header Instance {env.INSTANCE}
	registry_proxy {
		to `+server.Listener.Addr().String()+`
		htpasswd `+testenv.Users(t, "a", "b")+`
	}
}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	first := startInstance(t, program, config, "first")

	content := bytes.Repeat([]byte("blob"), 64<<10)
	half := len(content) / 2
	type running struct {
		rest    io.WriteCloser
		answers <-chan answer
	}
	var uploads []running
	for n := range 4 {
		reader, writer := io.Pipe()
		location := send(t, c, http.MethodPost, "/v2/app/blobs/uploads/", nil, http.StatusAccepted)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, c.URL(location), reader)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("a", "b")
		uploads = append(uploads, running{writer, answersOf(c.ClientOf(t, 1+n%2), req)})
		if _, err := writer.Write(content[:half]); err != nil { // has been sent when it returns
			t.Fatal(err)
		}
	}

	second := startInstance(t, program, config, "second")
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	fresh := func() error {
		client := c.ClientOf(t, 1)
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/v2/"), nil)
		if err != nil {
			return err
		}
		req.SetBasicAuth("a", "b")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if from := resp.Header.Get("Instance"); resp.StatusCode != http.StatusOK || from != "second" {
			return fmt.Errorf("%s from the %s", resp.Status, from)
		}
		return nil
	}
	testenv.Eventually(t, "30 new requests at the second", func() error {
		for range 30 { // half of them would go to the first, if it listened
			if err := fresh(); err != nil {
				return err
			}
		}
		return nil
	})

	c.Client.CloseIdleConnections()
	for n, upload := range uploads {
		if _, err := upload.rest.Write(content[half:]); err != nil {
			t.Errorf("upload %d: %v", n, err)
		}
		upload.rest.Close()
		a := <-upload.answers
		if a.err != nil || a.status != http.StatusAccepted || a.header.Get("Instance") != "first" {
			t.Fatalf("upload %d: %d %s (%v) from %q", n, a.status, a.body, a.err, a.header.Get("Instance"))
		}
		// The rest of the push is the other's.
		location, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.header.Get("Location"), nil)
		if err != nil {
			t.Fatal(err)
		}
		send(t, c, http.MethodPut, location.URL.RequestURI()+"&digest="+digest.FromBytes(content).String(), nil, http.StatusCreated)
	}
	if err := first.Wait(); err != nil {
		t.Errorf("the first: %v\n%s", err, first.Log())
	}
	if status, body := get(t, c, "a:b", "/v2/app/blobs/"+digest.FromBytes(content).String()); status != http.StatusOK || body != string(content) {
		t.Errorf("the blob: %d, %d bytes", status, len(body))
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("the second: %v\n%s", err, second.Log())
	}
}
