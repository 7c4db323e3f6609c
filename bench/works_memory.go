package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"
)

// Names of works and metrics that aims refer to.
const (
	startName  = "start-up to the first authenticated answer"
	memoryName = "resident memory"
)

var (
	startTime = metric{"ms", 0}
	idle      = metric{"idle, MiB", 1}
	peak      = metric{"peak, MiB", 1}
	growth    = metric{"growth, MiB", 1}
)

// manyPulls is how many pulls at once memory is measured under.
const manyPulls = 64

// startWork is from the start of the program to the first answer.
func startWork() work {
	return work{
		name: startName, metrics: []metric{startTime},
		about: "A registry behind the proxy runs already. With users, one bcrypt hash is within.",
		run: func(ctx context.Context, server *server) ([]float64, error) {
			took, err := server.restartFront(ctx)
			return []float64{took.Seconds() * 1000}, err
		},
	}
}

// memoryWork is the memory of the proxy, or of the registry where there is
// none before it.
func memoryWork(s scale) work {
	return work{
		name: memoryName, metrics: []metric{idle, peak},
		about: fmt.Sprintf("Of the proxy alone (where there is none, and with embedded, of the registry, too): a second after its first answer, and the peak while %d pull %s at once (h1), for up to 10 s.",
			manyPulls, sizeName(s.large)),
		run: func(ctx context.Context, server *server) ([]float64, error) {
			if _, err := server.restartFront(ctx); err != nil {
				return nil, err
			}
			select { // for what a program does after its start
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			used, err := server.memoryOf(func() error { return server.pullMany(ctx, s) })
			return []float64{mebibytes(used.now), mebibytes(used.peak)}, err
		},
	}
}

// pullMany begins many pulls at once, and ends them when memory has long been
// what it is.
func (s *server) pullMany(ctx context.Context, limits scale) error {
	connections, done := newClients(s, manyPulls)
	defer done()
	for _, c := range connections {
		c.timeout = max(2*limits.attack, 10*time.Second) // within which all have logged in
	}
	message := connections[0].request(http.MethodGet, "/v2/"+repository+"/blobs/"+s.lab.blobs[limits.large].digest, "")
	_, err := s.load(ctx, manyPulls, 0, func(worker int) error {
		var got counter
		status, _, err := connections[worker].do(message, false, &got)
		if errors.Is(err, os.ErrDeadlineExceeded) && got > 0 {
			return nil
		}
		return checkStatus(status, http.StatusOK, err)
	})
	return err
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func growthName(s scale) string {
	return fmt.Sprintf("growth of resident memory in a push of %s", sizeName(s.huge))
}

// growthWork is what a long push adds to the memory of the proxy.
func growthWork(s scale) work {
	return work{
		name: growthName(s), metrics: []metric{growth, throughput},
		about: "From after a first small push to the peak of the large one (one PATCH).",
		run: func(ctx context.Context, server *server) ([]float64, error) {
			if _, err := server.restartFront(ctx); err != nil {
				return nil, err
			}
			if err := server.pushNew(ctx, 1<<20, 0, nil); err != nil {
				return nil, err
			}
			var took spent
			used, err := server.memoryOf(func() error { return server.pushNew(ctx, s.huge, 0, &took) })
			if err != nil {
				return nil, err
			}
			speed, _ := took.transfer(s.huge)
			return []float64{mebibytes(used.peak - used.now), speed}, nil
		},
	}
}

// memoryOf returns the memory of the front before a load, and its peak since then.
func (s *server) memoryOf(load func() error) (memory, error) {
	if err := forgetPeak(s.front.pid); err != nil {
		return memory{}, err
	}
	before, err := usedMemory(s.front.pid)
	if err != nil {
		return memory{}, err
	}
	if err := load(); err != nil {
		return memory{}, err
	}
	after, err := usedMemory(s.front.pid)
	return memory{now: before.now, peak: after.peak}, err
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }
