package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// spent is what a load took.
type spent struct {
	count int64 // of operations
	wall  time.Duration
	cpu   time.Duration // of proxy and registry
}

// perSecond returns operations per second.
func (s spent) perSecond() float64 { return float64(s.count) / s.wall.Seconds() }

// cpuMillis returns CPU milliseconds per operation.
func (s spent) cpuMillis() float64 { return float64(s.cpu.Microseconds()) / 1000 / float64(s.count) }

// transfer returns MiB/s and CPU seconds per GiB, for operations of size bytes.
func (s spent) transfer(size int64) (rate, cpu float64) {
	bytes := float64(s.count) * float64(size)
	return bytes / (1 << 20) / s.wall.Seconds(), s.cpu.Seconds() / (bytes / (1 << 30))
}

// load lets workers repeat an operation for a period, each at least once. What
// has begun is finished, and counts.
func (s *server) load(ctx context.Context, workers int, period time.Duration, op func(worker int) error) (spent, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	before, err := s.cpu()
	if err != nil {
		return spent{}, err
	}
	var count atomic.Int64
	var group sync.WaitGroup
	begin := time.Now()
	for worker := range workers {
		group.Go(func() {
			for {
				if err := op(worker); err != nil {
					cancel(err)
					return
				}
				count.Add(1)
				if ctx.Err() != nil || time.Since(begin) >= period {
					return
				}
			}
		})
	}
	group.Wait()
	wall := time.Since(begin)
	if err := context.Cause(ctx); err != nil {
		return spent{}, err
	}
	after, err := s.cpu()
	return spent{count: count.Load(), wall: wall, cpu: after - before}, err
}
