package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// target is what a verdict is about: a container that moved, or another one at
// its address, is a new one.
type target struct {
	id   string
	addr netip.AddrPort
}

func targetOf(c candidate) target { return target{c.id, c.addr} }

// verdict is the predicate of a sentence about a container, or fine.
type verdict string

const fine verdict = ""

// newProbeClient returns a client for health checks: directly, without
// redirects, and without connections that are kept, since a registry must
// accept new ones.
func newProbeClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// probe asks whether a registry answers at addr. A registry that wants a login
// is as healthy as one that does not.
//
// Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#determining-support
func probe(ctx context.Context, client *http.Client, addr netip.AddrPort) verdict {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+"/v2/", nil)
	if err != nil {
		return verdict("its address can't be used: " + oneLine(err.Error()))
	}
	request.Header.Set("User-Agent", "registry_container health check")
	response, err := client.Do(request)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return verdict(fmt.Sprintf("accepts no connection on port %d", addr.Port()))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return verdict(fmt.Sprintf("does not answer on port %d", addr.Port()))
	case err != nil:
		return verdict("a health check failed: " + oneLine(err.Error()))
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // the status alone counts
	switch response.StatusCode {
	case http.StatusOK, http.StatusUnauthorized:
		return fine
	default:
		return verdict(fmt.Sprintf("answers GET /v2/ on port %d with %d", addr.Port(), response.StatusCode))
	}
}

// round probes all targets at once.
func round(ctx context.Context, client *http.Client, targets []target) map[target]verdict {
	verdicts := make([]verdict, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() { verdicts[i] = probe(ctx, client, t.addr) })
	}
	wg.Wait()
	health := make(map[target]verdict, len(targets))
	for i, t := range targets {
		health[t] = verdicts[i]
	}
	return health
}

// prober runs rounds of health checks beside the goroutine that owns it, which
// alone calls its methods.
type prober struct {
	client *http.Client
	timing timing

	done    chan map[target]verdict // the result of the round that runs; nil if none does
	again   *time.Timer             // when the next round is due
	targets []target                // of the last round
	failed  int                     // rounds in a row with an unhealthy target
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

func newProber(t timing) *prober {
	p := &prober{client: newProbeClient(t.probe), timing: t, again: time.NewTimer(0), cancel: func() {}}
	p.again.Stop()
	return p
}

// begin starts a round, unless one for the same targets runs already.
func (p *prober) begin(ctx context.Context, candidates []candidate) {
	targets := make([]target, len(candidates))
	for i, c := range candidates {
		targets[i] = targetOf(c)
	}
	if !slices.Equal(targets, p.targets) {
		p.failed = 0
	} else if p.done != nil {
		return
	}
	p.again.Stop()
	p.cancel()
	p.targets, p.done = targets, nil
	if len(targets) == 0 {
		return
	}
	ctx, p.cancel = context.WithCancel(ctx)
	done := make(chan map[target]verdict, 1) // a result that nobody waits for any more blocks nobody
	p.done = done
	p.wg.Go(func() { done <- round(ctx, p.client, targets) })
}

// finish takes note of a round's result and plans the next one: seldom while
// all are healthy; else soon, and then less and less often.
func (p *prober) finish(health map[target]verdict) {
	p.cancel()
	p.done = nil
	wait := p.timing.probeHealthy
	if slices.ContainsFunc(slices.Collect(maps.Values(health)), func(v verdict) bool { return v != fine }) {
		wait = backoff(p.failed, p.timing.probeUnhealthy, p.timing.probeHealthy)
		p.failed++
	} else {
		p.failed = 0
	}
	p.again.Reset(wait)
}

// stop ends the round that runs, and waits.
func (p *prober) stop() {
	p.again.Stop()
	p.cancel()
	p.wg.Wait()
	p.client.CloseIdleConnections()
}
