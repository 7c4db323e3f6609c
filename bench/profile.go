package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

var notForFiles = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// profile takes a CPU profile of a Caddy while it does a work, into a file
// named after both. The returned function waits for it. A work that restarts
// Caddy may have none.
func (r *run) profile(ctx context.Context, w work, s *server) (wait func()) {
	seconds := int(r.lab.period.Seconds()) + 1
	name := strings.Trim(notForFiles.ReplaceAllString(w.name+"-"+s.name, "-"), "-")
	path := filepath.Join(r.profiles, name+".pprof") // of the last round
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.takeProfile(ctx, path, seconds); err != nil {
			log.Printf("no profile of %s, %s: %v", s.name, w.name, err)
		}
	})
	return group.Wait
}

func (s *server) takeProfile(ctx context.Context, path string, seconds int) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.adminSocket())
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://localhost/debug/pprof/profile?seconds=%d", seconds), nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking for a profile: %s", resp.Status)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // profiles are no secret
		return err
	}
	return os.WriteFile(path, content, 0o644) //nolint:gosec // profiles are no secret
}
