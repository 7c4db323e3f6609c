package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
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
		about: fmt.Sprintf("Of the proxy alone (where there is none, of the registry): a second after its first answer, and the peak while %d pull %s at once (h1), for up to 10 s.",
			manyPulls, sizeName(s.large)),
		run: func(ctx context.Context, server *server) ([]float64, error) {
			if _, err := server.restartFront(ctx); err != nil {
				return nil, err
			}
			time.Sleep(time.Second) // for what a program does after its start
			before, err := residentMemory(server.front.pid)
			if err != nil {
				return nil, err
			}
			most, err := server.peakMemory(func() error { return server.pullMany(ctx, s) })
			return []float64{mebibytes(before), mebibytes(most)}, err
		},
	}
}

// pullMany begins many pulls at once, and ends them when memory has long been
// what it is.
func (s *server) pullMany(ctx context.Context, limits scale) error {
	connections, done := newClients(s, manyPulls)
	defer done()
	for _, c := range connections {
		c.timeout = 2 * limits.attack
	}
	message := connections[0].request(http.MethodGet, "/v2/"+repository+"/blobs/"+s.lab.blobs[limits.large].digest, "")
	_, err := s.load(ctx, manyPulls, 0, func(worker int) error {
		status, _, err := connections[worker].do(message, false, nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		return checkStatus(status, http.StatusOK, err)
	})
	return err
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
			before, err := residentMemory(server.front.pid)
			if err != nil {
				return nil, err
			}
			var took spent
			most, err := server.peakMemory(func() error { return server.pushNew(ctx, s.huge, 0, &took) })
			if err != nil {
				return nil, err
			}
			speed, _ := took.transfer(s.huge)
			return []float64{mebibytes(most - before), speed}, nil
		},
	}
}

// peakMemory returns the most memory that the front had during a load.
func (s *server) peakMemory(load func() error) (int64, error) {
	ended := make(chan struct{})
	var most int64
	var failed error
	var group sync.WaitGroup
	group.Go(func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			now, err := residentMemory(s.front.pid)
			if err != nil {
				failed = err
				return
			}
			most = max(most, now)
			select {
			case <-ended:
				return
			case <-ticker.C:
			}
		}
	})
	err := load()
	close(ended)
	group.Wait()
	if err == nil {
		err = failed
	}
	return most, err
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }
