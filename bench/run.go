package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// run is the contestants at work.
type run struct {
	lab         *lab
	works       []work
	entrants    []entrant
	servers     []*server
	results     *results
	profiles    string // a folder; empty: none are wanted
	interrupted bool
}

// start starts all contestants; they stay until stop, idle while others work.
// One that is missing, or does not start, is no error yet.
func (r *run) start(ctx context.Context, chosen []*contestant) error {
	for _, c := range chosen {
		log.Printf("starting %s", c.name)
		s, err := startServer(ctx, r.lab, c)
		var secured string
		if err == nil {
			if secured, err = s.verify(ctx); err != nil {
				err = errors.Join(err, s.stop())
			} else {
				r.servers = append(r.servers, s)
			}
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		e := present(c)
		if err == nil {
			e.tls = secured
			r.lab.examine(ctx, &e, s.command[0])
		} else {
			log.Printf("%s does not take part: %v", c.name, err)
			var missing *missingError
			if errors.As(err, &missing) {
				e.missing = missing.reason
			} else {
				e.failed = err
			}
		}
		r.entrants = append(r.entrants, e)
	}
	return nil
}

// failed returns what failed: contestants that did not start, and works.
func (r *run) failed() error {
	var errs []error
	for _, e := range r.entrants {
		if e.failed != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.name, e.failed))
		}
	}
	for k, f := range r.results.failures {
		errs = append(errs, fmt.Errorf("%s: %s: %w", k.contestant, k.work, f.last))
	}
	return errors.Join(errs...)
}

// stop stops all contestants.
func (r *run) stop() error {
	var errs []error
	for _, s := range r.servers {
		if err := s.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stopping %s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}

// measure does all rounds of each work, in which the contestants take turns,
// each round another first: whatever else the machine does falls on all.
func (r *run) measure(ctx context.Context) {
	for i, w := range r.works {
		begin := time.Now()
		for round := range r.lab.rounds {
			for i := range r.servers {
				r.one(ctx, w, r.servers[(i+round)%len(r.servers)])
				if ctx.Err() != nil {
					r.interrupted = true
					return
				}
			}
			log.Printf("work %d of %d, round %d of %d: %s", i+1, len(r.works), round+1, r.lab.rounds, w.name)
		}
		var table strings.Builder
		report{entrants: r.entrants, results: r.results}.writeWork(&table, w)
		log.Printf("took %.0f s\n%s", time.Since(begin).Seconds(), table.String())
	}
}

// one is one round of a contestant.
func (r *run) one(ctx context.Context, w work, s *server) {
	runtime.GC()
	debug.FreeOSMemory() // what this program leaves is no load for the next
	wait := func() {}
	if r.profiles != "" && s.isCaddy() {
		wait = r.profile(ctx, w, s)
	}
	values, err := w.run(ctx, s)
	wait()
	switch {
	case err == nil:
		r.results.add(w, s.name, values)
	case errors.Is(err, errNotDone) || ctx.Err() != nil:
	default:
		log.Printf("%s failed: %s: %v", s.name, w.name, err)
		r.results.fail(w, s.name, err)
	}
}

// names returns who took part.
func (r *run) names() []string {
	var names []string
	for _, s := range r.servers {
		names = append(names, s.name)
	}
	return names
}

// wait says where the contestants are, until the context ends.
func (r *run) wait(ctx context.Context, stdout io.Writer) error {
	fmt.Fprintf(stdout, "user %s, password %q; the large blob is /v2/%s/blobs/%s\n",
		userName, password, repository, r.lab.blobs[r.lab.large].digest)
	for _, s := range r.servers {
		fmt.Fprintf(stdout, "%s: %s, process %d", s.name, s.url("/v2/"), s.front.pid)
		if s.isCaddy() {
			fmt.Fprintf(stdout, ", admin socket %s", s.adminSocket())
		}
		fmt.Fprintln(stdout)
	}
	<-ctx.Done()
	return nil
}
