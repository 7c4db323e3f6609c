package main

import (
	"context"
	"fmt"
	"net/http"
)

// Ways to send requests.
const (
	keepAlive     = "h1"
	newConnection = "h1, a new connection each"
	multiplexed   = "h2"
)

// clients is how many send small requests at once.
const clients = 8

// request is a small one.
type request struct {
	name, method, path, header string
}

const manifestTypes = "application/vnd.docker.distribution.manifest.v2+json"

// What small requests ask for.
var (
	ping         = request{"GET /v2/", http.MethodGet, "/v2/", ""}
	manifestGet  = request{"manifest GET by tag", http.MethodGet, "/v2/" + repository + "/manifests/" + tag, manifestTypes}
	manifestHead = request{"manifest HEAD by tag", http.MethodHead, "/v2/" + repository + "/manifests/" + tag, manifestTypes}
)

func requestName(r request, way string) string { return r.name + ", " + way }

// requestWork is small requests, 8 at once.
func requestWork(r request, way string, s scale) work {
	w := work{
		name: requestName(r, way), metrics: []metric{rate, cpuRequest},
		about: fmt.Sprintf("%d clients, authenticated.", clients),
	}
	switch way {
	case newConnection:
		w.about += " A TCP and a full TLS handshake per request, as Docker's classic client does."
	case multiplexed:
		w.about += " All on one connection."
	}
	w.run = func(ctx context.Context, server *server) ([]float64, error) {
		op, done, err := requester(ctx, server, r, way, clients)
		if err != nil {
			return nil, err
		}
		defer done()
		// Warm: connections are open, and caches filled, but for the
		// connections that belong to the work.
		if _, err := server.load(ctx, clients, 0, op); err != nil {
			return nil, err
		}
		spent, err := server.load(ctx, clients, s.period, op)
		if err != nil {
			return nil, err
		}
		return []float64{spent.perSecond(), spent.cpuMillis()}, nil
	}
	return w
}

// requester returns an operation that sends a request and checks its answer,
// for n workers.
func requester(ctx context.Context, s *server, r request, way string, n int) (op func(int) error, done func(), err error) {
	if way == multiplexed {
		if s.scheme == "http" {
			return nil, nil, errNotDone
		}
		streams, done, err := newStreams(ctx, s, n)
		if err != nil {
			return nil, nil, err
		}
		header := http.Header{}
		if r.header != "" {
			header.Set("Accept", r.header)
		}
		return func(worker int) error {
			status, _, err := streams[worker].do(ctx, r.method, r.path, header)
			return checkStatus(status, http.StatusOK, err)
		}, done, nil
	}
	header := ""
	if r.header != "" {
		header = "Accept: " + r.header + "\r\n"
	}
	connections, done := newClients(s, n)
	message := connections[0].request(r.method, r.path, header)
	return func(worker int) error {
		c := connections[worker]
		status, _, err := c.do(message, r.method == http.MethodHead, nil)
		if way == newConnection {
			c.close()
		}
		return checkStatus(status, http.StatusOK, err)
	}, done, nil
}

// newClients returns n connections, which open with their first request.
func newClients(s *server, n int) ([]*client, func()) {
	all := make([]*client, n)
	for i := range all {
		all[i] = newClient(s)
	}
	return all, func() {
		for _, c := range all {
			c.close()
		}
	}
}

func checkStatus(status, want int, err error) error {
	if err == nil && status != want {
		err = fmt.Errorf("status %d instead of %d", status, want)
	}
	return err
}
