package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"
)

func pullName(size int64, way string, clients int) string {
	return fmt.Sprintf("pull of %s, %s, %d at once", sizeName(size), way, clients)
}

// pullWork is pulls of one blob.
func pullWork(size int64, way string, clients int, s scale) work {
	return blobWork(pullName(size, way, clients), way, clients, size, 0, s)
}

// rangeWork is pulls of the second half of the largest blob, as a client that
// resumes does.
func rangeWork(clients int, s scale) work {
	name := fmt.Sprintf("pull of the second half of %s, h1 with Range, %d at once", sizeName(s.large), clients)
	return blobWork(name, keepAlive, clients, s.large, s.large/2, s)
}

// blobWork is pulls of a blob from an offset on. Few bytes are measured in
// requests.
func blobWork(name, way string, clients int, size, offset int64, s scale) work {
	w := work{name: name, metrics: []metric{throughput, cpuGiB}}
	if size < middle {
		w.metrics = []metric{rate, cpuRequest}
	}
	w.run = func(ctx context.Context, server *server) ([]float64, error) {
		op, done, err := puller(ctx, server, way, clients, size, offset)
		if err != nil {
			return nil, err
		}
		defer done()
		// Warm: the file is in the page cache; connections are open already.
		if _, err := server.load(ctx, 1, 0, op); err != nil {
			return nil, err
		}
		spent, err := server.load(ctx, clients, s.period, op)
		if err != nil {
			return nil, err
		}
		if size < middle {
			return []float64{spent.perSecond(), spent.cpuMillis()}, nil
		}
		speed, cpu := spent.transfer(size - offset)
		return []float64{speed, cpu}, nil
	}
	return w
}

// puller returns an operation that pulls a blob and checks its size, for n
// workers.
func puller(ctx context.Context, s *server, way string, n int, size, offset int64) (op func(int) error, done func(), err error) {
	path := "/v2/" + repository + "/blobs/" + s.lab.blobs[size].digest
	want, from := http.StatusOK, ""
	if offset > 0 {
		want, from = http.StatusPartialContent, fmt.Sprintf("bytes=%d-", offset)
	}
	check := func(status int, got int64, err error) error {
		if err := checkStatus(status, want, err); err != nil {
			return err
		}
		if got != size-offset {
			return fmt.Errorf("%d bytes instead of %d", got, size-offset)
		}
		return nil
	}
	if way == multiplexed {
		if s.scheme == "http" {
			return nil, nil, errNotDone
		}
		streams, done, err := newStreams(ctx, s, n)
		if err != nil {
			return nil, nil, err
		}
		header := http.Header{}
		if from != "" {
			header.Set("Range", from)
		}
		return func(worker int) error { return check(streams[worker].do(ctx, http.MethodGet, path, header)) }, done, nil
	}
	header := ""
	if from != "" {
		header = "Range: " + from + "\r\n"
	}
	connections, done := newClients(s, n)
	for _, c := range connections {
		status, _, err := c.do(c.request(http.MethodGet, "/v2/", ""), false, nil)
		if err := checkStatus(status, http.StatusOK, err); err != nil {
			done()
			return nil, nil, err
		}
	}
	message := connections[0].request(http.MethodGet, path, header)
	return func(worker int) error { return check(connections[worker].do(message, false, nil)) }, done, nil
}

// verify compares what is served with what was pushed, and sees that others are
// refused: what is measured after that is at least the right answer. It returns
// the version of TLS and the key exchange.
func (s *server) verify(ctx context.Context) (secured string, err error) {
	c := newClient(s)
	defer c.close()
	get := func(path, digest string) error {
		sum := sha256.New()
		status, _, err := c.do(c.request(http.MethodGet, "/v2/"+repository+path, ""), false, sum)
		if err := checkStatus(status, http.StatusOK, err); err != nil {
			return fmt.Errorf("getting %s: %w", path, err)
		}
		if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest {
			return fmt.Errorf("getting %s: digest %s instead of %s", path, got, digest)
		}
		return nil
	}
	for _, blob := range s.lab.blobs {
		if err := get("/blobs/"+blob.digest, blob.digest); err != nil {
			return "", err
		}
	}
	if err := get("/manifests/"+tag, s.lab.manifest); err != nil {
		return "", err
	}
	if s.scheme == "http" {
		return "–", ctx.Err()
	}
	for _, user := range []string{userName, "nobody"} {
		status, _, err := c.do(c.requestAs(user, "wrong", http.MethodGet, "/v2/", ""), false, nil)
		if err := checkStatus(status, http.StatusUnauthorized, err); err != nil {
			return "", fmt.Errorf("a wrong password of %s: %w", user, err)
		}
	}
	if err := c.connect(); err != nil {
		return "", err
	}
	state := c.conn.(*tls.Conn).ConnectionState()
	return fmt.Sprintf("%s, %s", tls.VersionName(state.Version), state.CurveID), ctx.Err()
}

// chunkSize is the one that clients which upload in chunks commonly have.
const chunkSize = 5 << 20

func pushName(size, chunk int64) string {
	if chunk == 0 {
		return fmt.Sprintf("push of %s, one PATCH", sizeName(size))
	}
	return fmt.Sprintf("push of %s, chunks of %s", sizeName(size), sizeName(chunk))
}

// pushWork is the upload of a blob that the registry does not have.
func pushWork(s scale, chunk int64) work {
	w := work{name: pushName(s.large, chunk), metrics: []metric{throughput, cpuGiB}, about: "h1; the content is new each time."}
	w.run = func(ctx context.Context, server *server) ([]float64, error) {
		if err := server.pushNew(ctx, 1<<20, chunk, nil); err != nil { // warm
			return nil, err
		}
		var spent spent
		err := server.pushNew(ctx, s.large, chunk, &spent)
		if err != nil {
			return nil, err
		}
		speed, cpu := spent.transfer(s.large)
		return []float64{speed, cpu}, nil
	}
	return w
}

// pushNew pushes a new blob and then removes it. It says what the push took.
func (s *server) pushNew(ctx context.Context, size, chunk int64, took *spent) error {
	s.pushes++
	blob := s.lab.contents.make(size)
	into := fmt.Sprintf("bench/push%d", s.pushes)
	p := newPusher(s)
	defer p.close()
	result, err := s.load(ctx, 1, time.Duration(0), func(int) error { return p.push(ctx, into, blob, chunk) })
	if took != nil {
		*took = result
	}
	return errors.Join(err, s.forget(into, blob.digest))
}
