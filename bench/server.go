package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// server is a contestant in operation.
type server struct {
	*contestant
	lab      *lab
	dir      string // its configs, sockets and logs
	data     string // the registry's folder
	scheme   string
	address  string
	upstream string   // the registry's address, or the path of its socket
	label    string   // of the registry's container, if it is in one
	command  []string // that starts the front

	backend *process // nil: the front is the registry
	front   *process

	pushes uint64 // so far; each has new content
	tries  int    // of wrong passwords so far
}

// startServer starts a contestant on a copy of the seed. The error is an
// *missingError where the machine lacks what the contestant needs.
func startServer(ctx context.Context, l *lab, c *contestant) (s *server, err error) {
	s = &server{contestant: c, lab: l, dir: filepath.Join(l.dir, c.folder()), scheme: "https"}
	s.data = filepath.Join(s.dir, "data")
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
			s = nil
		}
	}()
	if err := os.CopyFS(s.data, os.DirFS(l.seed)); err != nil {
		return s, fmt.Errorf("copying the registry's folder: %w", err)
	}
	if s.address, err = freeAddress(ctx); err != nil {
		return s, err
	}
	if c.backend != nil {
		if s.backend, err = c.backend(ctx, s); err != nil {
			return s, fmt.Errorf("registry: %w", err)
		}
	}
	if s.command, err = c.front(ctx, s); err != nil {
		return s, err
	}
	_, err = s.startFront(ctx)
	return s, err
}

// startFront starts the proxy, or the registry where there is none before it,
// and returns how long its first authenticated answer took.
func (s *server) startFront(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	front, err := startProgram(ctx, s.dir, s.command)
	if err != nil {
		return 0, err
	}
	s.front = front
	c := newClient(s)
	defer c.close()
	request := c.request(http.MethodGet, "/v2/", "")
	for {
		status, _, err := c.do(request, false, nil)
		if err == nil && status == http.StatusOK {
			return time.Since(begin), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-s.front.done:
			return 0, fmt.Errorf("it ended: %s", s.front.log())
		case <-time.After(time.Millisecond):
		}
		if time.Since(begin) > 30*time.Second {
			return 0, fmt.Errorf("no good answer for 30 s (last: status %d, error %w); its log: %s", status, err, s.front.log())
		}
	}
}

// restartFront is for measurements that need a process without a past.
func (s *server) restartFront(ctx context.Context) (time.Duration, error) {
	if err := s.front.stop(); err != nil {
		return 0, err
	}
	// What a killed program leaves would keep it from listening.
	if err := os.Remove(s.adminSocket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	return s.startFront(ctx)
}

// stop ends the processes.
func (s *server) stop() error {
	var errs []error
	for _, p := range []*process{s.front, s.backend} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}

// cpu returns what proxy and registry have used so far.
func (s *server) cpu() (time.Duration, error) {
	pids := []int{s.front.pid}
	if s.backend != nil {
		pids = append(pids, s.backend.pid)
	}
	return usedCPU(pids...)
}

// url returns the URL of a path.
func (s *server) url(path string) string { return s.scheme + "://" + s.address + path }

// adminSocket is where Caddy's admin endpoint is, for profiles.
func (s *server) adminSocket() string { return filepath.Join(s.dir, "admin.sock") }

// file writes a config file of the server and returns its path.
func (s *server) file(name, content string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}

// forget removes what was pushed, so that each push begins with the same
// folder. It goes behind the registry's back, whose own deletes keep the files.
func (s *server) forget(repository string, digests ...string) error {
	root := filepath.Join(s.data, "docker", "registry", "v2")
	err := os.RemoveAll(filepath.Join(root, "repositories", filepath.FromSlash(repository)))
	for _, digest := range digests {
		hex := digest[len("sha256:"):]
		err = errors.Join(err, os.RemoveAll(filepath.Join(root, "blobs", "sha256", hex[:2], hex)))
	}
	return err
}
