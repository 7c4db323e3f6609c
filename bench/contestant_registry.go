package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// registryConfig is the one of the image registry:3 but for its logs, with
// deletes allowed as the embedded registry does.
func registryConfig(network, address, data, tls, auth string) string {
	return fmt.Sprintf(`version: 0.1
log:
  level: error
  accesslog: {disabled: true}
storage:
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http:
  net: %s
  addr: %q
  headers:
    X-Content-Type-Options: [nosniff]
%shealth:
  storagedriver: {enabled: true, interval: 10s, threshold: 3}
%s`, data, network, address, tls, auth)
}

// registryFront returns a registry that clients reach themselves.
func registryFront(secure bool) func(context.Context, *server) ([]string, error) {
	return func(_ context.Context, s *server) ([]string, error) {
		var tls, auth string
		if secure {
			tls = fmt.Sprintf("  tls: {certificate: %q, key: %q}\n", s.lab.cert, s.lab.key)
			auth = fmt.Sprintf("auth:\n  htpasswd: {realm: registry, path: %q}\n", s.lab.htpasswd)
		} else {
			s.scheme = "http"
		}
		config, err := s.file("registry.yml", registryConfig("tcp", s.address, s.data, tls, auth))
		return []string{s.lab.programs.registry, "serve", config}, err
	}
}

// registryBackend starts a registry at an address of this machine.
func registryBackend(ctx context.Context, s *server) (*process, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	s.upstream = address
	return startRegistry(ctx, s, "tcp")
}

// socketBackend starts a registry at a unix socket.
func socketBackend(ctx context.Context, s *server) (*process, error) {
	s.upstream = filepath.Join(s.dir, "registry.sock")
	return startRegistry(ctx, s, "unix")
}

func startRegistry(ctx context.Context, s *server, network string) (*process, error) {
	config, err := s.file("registry.yml", registryConfig(network, s.upstream, s.data, "", ""))
	if err != nil {
		return nil, err
	}
	return startProgram(ctx, s.dir, []string{s.lab.programs.registry, "serve", config})
}

// containerBackend runs registry:3 on the default bridge, without a published
// port and with the server's folder.
func containerBackend(ctx context.Context, s *server) (*process, error) {
	const image = "registry:3"
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := docker(asking, "image", "inspect", "--format", "{{.Id}}", image); err != nil {
		return nil, &missingError{err.Error()}
	}
	const root = "/var/lib/registry"
	config, err := s.file("registry.yml", registryConfig("tcp", ":5000", root, "", ""))
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(fmt.Sprintf("registry-bench-%d-%s", os.Getpid(), s.folder()))
	s.label = "registry-bench=" + name
	p, err := startContainer(ctx, name,
		"--label", s.label,
		// What it writes is this program's to remove.
		"--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()),
		"--env", "OTEL_TRACES_EXPORTER=none",
		// The same program as everybody's.
		"--volume", s.lab.programs.registry+":/bin/registry:ro",
		"--volume", config+":/etc/distribution/config.yml:ro",
		"--volume", s.data+":"+root,
		image)
	if err != nil {
		return nil, err
	}
	address, err := docker(ctx, "inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	s.upstream = net.JoinHostPort(address, "5000")
	return p, nil
}
