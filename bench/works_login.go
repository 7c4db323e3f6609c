package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Names of works and metrics that aims refer to.
const (
	loginName  = "failed login"
	attackName = "a good user, while 64 clients try unknown users"
)

var (
	wrongPassword = metric{"wrong password, ms", 1}
	unknownUser   = metric{"unknown user, ms", 1}
	unknownCPU    = metric{"unknown user, CPU ms", 0}
	goodMedian    = metric{"median, ms", 2}
	goodP99       = metric{"99th percentile, ms", 1}
	attempts      = metric{"their attempts/s that are answered", 0}
)

// attackers is how many clients try unknown users at once.
const attackers = 64

// loginWork is the time to the refusal of a login. Nobody has so many of them
// that a throttle counts: each wrong password is of another user.
func loginWork(s scale) work {
	return work{
		name: loginName, metrics: []metric{wrongPassword, unknownUser, unknownCPU},
		about: fmt.Sprintf("One after the other on an open connection, each of another user and with another password: median of %d. "+
			"What is hashed where there is no such user is up to each contestant.", s.tries),
		run: func(ctx context.Context, server *server) ([]float64, error) {
			if server.scheme == "http" {
				return nil, errNotDone
			}
			c := newClient(server)
			defer c.close()
			var wrong, unknown []float64
			var spent time.Duration
			for range s.tries {
				server.tries++
				for _, try := range []struct {
					user string
					took *[]float64
				}{
					{otherUser(server.tries), &wrong},
					{fmt.Sprintf("nobody%d", server.tries), &unknown},
				} {
					if status, _, err := c.do(c.request(http.MethodGet, "/v2/", ""), false, nil); err != nil || status != http.StatusOK {
						return nil, checkStatus(status, http.StatusOK, err) // only an open connection is wanted
					}
					message := c.requestAs(try.user, "wrong for "+try.user+fmt.Sprint(server.tries), http.MethodGet, "/v2/", "")
					result, err := server.load(ctx, 1, 0, func(int) error {
						status, _, err := c.do(message, false, nil)
						return checkStatus(status, http.StatusUnauthorized, err)
					})
					if err != nil {
						return nil, err
					}
					*try.took = append(*try.took, result.wall.Seconds()*1000)
					if try.took == &unknown {
						spent += result.cpu
					}
				}
			}
			return []float64{median(wrong), median(unknown), spent.Seconds() * 1000 / float64(s.tries)}, nil
		},
	}
}

// attackWork is what a user notices of others who try to get in.
func attackWork(s scale) work {
	return work{
		name: attackName, metrics: []metric{goodMedian, goodP99, attempts},
		about: "Authenticated `GET /v2/` on an open connection; the clients try as fast as they are answered, each time with another name and password, and share the cores with it.",
		run: func(ctx context.Context, server *server) ([]float64, error) {
			if server.scheme == "http" {
				return nil, errNotDone
			}
			return attack(ctx, server, s.attack)
		},
	}
}

func attack(ctx context.Context, server *server, period time.Duration) ([]float64, error) {
	good := newClient(server)
	defer good.close()
	message := good.request(http.MethodGet, "/v2/", "")
	if status, _, err := good.do(message, false, nil); err != nil || status != http.StatusOK {
		return nil, checkStatus(status, http.StatusOK, err) // logs in
	}
	var answered atomic.Int64
	latencies, took, err := during(ctx, period, period/10,
		func(ctx context.Context) error { return guess(ctx, server, attackers, &answered) },
		func() error {
			status, _, err := good.do(message, false, nil)
			return checkStatus(status, http.StatusOK, err)
		})
	if err != nil {
		return nil, err
	}
	return []float64{median(latencies[0]), percentile(latencies[0], 99), float64(answered.Load()) / took.Seconds()}, nil
}

// during returns how long each of a good user's operations took, in milliseconds,
// which are done in turn while others do what they do for a period, and how long
// that was in the end. What begins while that still rises does not count. It waits
// for the others.
func during(ctx context.Context, period, rise time.Duration, others func(context.Context) error, ops ...func() error,
) (latencies [][]float64, took time.Duration, err error) {
	flooding, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- others(flooding) }()
	latencies = make([][]float64, len(ops))
	begin := time.Now()
	for turn := 0; err == nil && ctx.Err() == nil && (time.Since(begin) < period || len(latencies[len(ops)-1]) < 3); turn++ {
		which := turn % len(ops)
		one := time.Now()
		err = ops[which]()
		if one.Sub(begin) > rise {
			latencies[which] = append(latencies[which], time.Since(one).Seconds()*1000)
		}
	}
	took = time.Since(begin)
	cancel()
	if err != nil {
		err = fmt.Errorf("the good user: %w", err)
	}
	return latencies, took, errors.Join(err, <-ended, ctx.Err())
}

// guess lets n clients try to log in until ctx ends, each time with another name
// and password, as fast as they are answered; answers after that are not counted. It waits for what they asked last,
// which must not burden the next contestant.
func guess(ctx context.Context, s *server, n int, answered *atomic.Int64) error {
	var group errgroup.Group
	for i := range n {
		group.Go(func() error {
			c := newClient(s)
			defer c.close()
			for try := 0; ctx.Err() == nil; try++ {
				name := fmt.Sprintf("stranger%d-%d-%d", time.Now().UnixNano(), i, try)
				status, _, err := c.do(c.requestAs(name, "guess of "+name, http.MethodGet, "/v2/", ""), false, nil)
				if status != http.StatusTooManyRequests {
					err = checkStatus(status, http.StatusUnauthorized, err)
				}
				if err != nil {
					return fmt.Errorf("a stranger: %w", err)
				}
				if ctx.Err() == nil {
					answered.Add(1)
				}
			}
			return nil
		})
	}
	return group.Wait()
}
