package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// flood is what strangers, or users with a bad line, may do to a server while a
// good user pulls. It runs until ctx ends.
type flood struct {
	name  string
	about string
	run   func(ctx context.Context, s *server, open *crowded) error
}

// crowded counts connections that are open.
type crowded struct{ now, most atomic.Int64 }

func (c *crowded) add(n int64) {
	for now := c.now.Add(n); ; {
		most := c.most.Load()
		if now <= most || c.most.CompareAndSwap(most, now) {
			return
		}
	}
}

const (
	floodGuessers = 200
	floodIdle     = 2000
	floodSlow     = 500
	drip          = time.Second // between two bytes of one that is slow
)

// quiet is no flood: what others are compared with.
const quiet = "nobody else is there"

func floods() []flood {
	const upload = "/v2/bench/slow/blobs/uploads/"
	return []flood{
		{quiet, "", func(ctx context.Context, _ *server, _ *crowded) error {
			<-ctx.Done()
			return nil
		}},
		{
			fmt.Sprintf("%d clients guess names and passwords", floodGuessers), "As fast as they are answered.",
			func(ctx context.Context, s *server, _ *crowded) error {
				return guess(ctx, s, floodGuessers, new(atomic.Int64))
			},
		},
		{
			fmt.Sprintf("%d connections are idle", floodIdle), "TLS is agreed on, and nothing is said.",
			func(ctx context.Context, s *server, open *crowded) error { return crowd(ctx, s, open, floodIdle, nil) },
		},
		{
			fmt.Sprintf("%d headers are slow", floodSlow), "A byte each second.",
			func(ctx context.Context, s *server, open *crowded) error {
				return crowd(ctx, s, open, floodSlow, []byte("GET /v2/ HTTP/1.1\r\nHost: a\r\nX: "))
			},
		},
		{
			fmt.Sprintf("%d bodies of strangers are slow", floodSlow), "A byte each second.",
			func(ctx context.Context, s *server, open *crowded) error {
				message := newClient(s).requestAs("nobody", "wrong", http.MethodPost, upload, "Content-Length: 1000000\r\n")
				return crowd(ctx, s, open, floodSlow, message)
			},
		},
		{
			fmt.Sprintf("%d bodies of a user are slow", floodSlow), "A byte each second, of uploads that are allowed.",
			func(ctx context.Context, s *server, open *crowded) error {
				message := newClient(s).request(http.MethodPost, upload, "Content-Length: 1000000\r\n")
				return crowd(ctx, s, open, floodSlow, message)
			},
		},
	}
}

var (
	pullMedian  = metric{"pull, median ms", 2}
	pullP99     = metric{"pull, 99th percentile ms", 1}
	freshMedian = metric{"with a new connection, median ms", 2}
	floodPeak   = metric{"peak of memory, MiB", 1}
	floodOpen   = metric{"open at once", 0}
)

func floodName(f flood) string { return "pulls of " + sizeName(middle) + " while " + f.name }

// floodWork is pulls of one user in a flood, one after the other, in turn on an open
// connection and with a new one.
func floodWork(f flood, s scale) work {
	return work{
		name: floodName(f), about: f.about, metrics: []metric{pullMedian, pullP99, freshMedian, floodPeak, floodOpen},
		run: func(ctx context.Context, server *server) ([]float64, error) {
			if server.scheme == "http" {
				return nil, errNotDone
			}
			var latencies [][]float64
			open := new(crowded)
			used, err := server.memoryOf(func() (err error) {
				latencies, err = server.pullIn(ctx, f, open, s.flood)
				return err
			})
			if err != nil {
				return nil, err
			}
			return []float64{
				median(latencies[0]), percentile(latencies[0], 99), median(latencies[1]), mebibytes(used.peak), float64(open.most.Load()),
			}, nil
		},
	}
}

// pullIn returns how long each pull took, in milliseconds, in a flood of a period:
// those on an open connection, and those with a new one.
func (s *server) pullIn(ctx context.Context, f flood, open *crowded, period time.Duration) (latencies [][]float64, err error) {
	kept, done, err := puller(ctx, s, keepAlive, 1, middle, 0)
	if err != nil {
		return nil, err
	}
	defer done()
	fresh := newClient(s)
	defer fresh.close()
	path := "/v2/" + repository + "/blobs/" + s.lab.blobs[middle].digest
	latencies, _, err = during(ctx, period, period/4, // by when the flood has risen
		func(ctx context.Context) error { return f.run(ctx, s, open) },
		func() error { return kept(0) },
		func() error {
			fresh.close()
			status, _, err := fresh.do(fresh.request(http.MethodGet, path, ""), false, nil)
			return checkStatus(status, http.StatusOK, err)
		})
	return latencies, err
}

// crowd opens connections, sends a message on each and then a byte each second. One
// that the server closes is opened again. No message: nothing is ever sent.
func crowd(ctx context.Context, s *server, open *crowded, n int, message []byte) error {
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			for ctx.Err() == nil {
				c := newClient(s)
				// It may refuse, which is its way to hold out.
				if c.connect() == nil {
					open.add(1)
					linger(ctx, c.conn, message)
					open.add(-1)
				}
				c.close()
				rest(ctx)
			}
		})
	}
	group.Wait()
	return nil
}

// linger is one slow connection, until the server or ctx ends it.
func linger(ctx context.Context, conn net.Conn, message []byte) {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() {
		defer close(closed)
		buf := make([]byte, 4096)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
	defer func() {
		_ = conn.Close()
		<-closed
	}()
	if len(message) == 0 {
		<-closed
		return
	}
	if _, err := conn.Write(message); err != nil {
		return
	}
	for {
		select {
		case <-closed:
			return
		case <-time.After(drip):
		}
		if _, err := conn.Write([]byte("a")); err != nil {
			return
		}
	}
}

func rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(drip):
	}
}
