// Command bench compares this project with what people use instead, in front
// of the same registry on the same machine, and writes bench/RESULTS.md. It
// runs on Linux; bench/README.md says more.
//
//	go run ./bench [-rounds n] [-only regexp] [-contestants regexp] [-quick] [-out file]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// options are the flags.
type options struct {
	scale       scale
	only        *regexp.Regexp
	contestants *regexp.Regexp
	quick       bool
	floods      bool
	serve       bool
	profiles    string
	out         string
	dir         string
}

func main() {
	log.SetFlags(log.Ltime)
	o, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends this program at once
	if err == nil {
		err = bench(ctx, o, os.Stdout)
	}
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parseFlags reads the command line.
func parseFlags(arguments []string, usage io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(usage)
	rounds := flags.Int("rounds", 0, "how often everything is measured (default 5; 1 with -quick)")
	only := flags.String("only", "", "works to do, as a regular `expression` of their names (default all)")
	contestants := flags.String("contestants", "", "who takes part, as a regular `expression` of their names (default all)")
	flags.BoolVar(&o.quick, "quick", false, "see in minutes whether everything works: small sizes, one round")
	flags.BoolVar(&o.floods, "floods", false, "how pulls go on while strangers and users with a bad line do what they can; writes bench/FLOODS.md")
	flags.BoolVar(&o.serve, "serve", false, "measure nothing: start the contestants, say where they are, and wait for Ctrl-C")
	flags.StringVar(&o.profiles, "profiles", "", "a `folder` for a CPU profile of each Caddy in each work and round; they cost time")
	flags.StringVar(&o.out, "out", "", "the `file` for the report, beside which the plot goes (default: bench/RESULTS.md if all is measured, else none)")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "where to make the working `folder`: it needs 1 GiB per contestant, and 5 GiB more")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	o.scale = fullScale
	if o.quick {
		o.scale = quickScale
	} else if o.out == "" && *only == "" && *contestants == "" && *rounds == 0 && o.profiles == "" {
		o.out = filepath.Join("bench", "RESULTS.md")
		if o.floods {
			o.out = filepath.Join("bench", "FLOODS.md")
		}
	}
	if *rounds > 0 {
		o.scale.rounds = *rounds
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	if o.contestants, err = regexp.Compile(*contestants); err != nil {
		return o, fmt.Errorf("-contestants: %w", err)
	}
	return o, nil
}

// works are those that may be chosen from.
func (o options) works() []work {
	if o.floods {
		return floodWorks(o.scale)
	}
	return allWorks(o.scale)
}

// bench does what the flags say, and removes all that it made.
func bench(ctx context.Context, o options, stdout io.Writer) (err error) {
	chosen := selectContestants(o.contestants)
	if len(chosen) == 0 {
		return errors.New("no contestant has such a name")
	}
	works := selectWorks(o.works(), o.only)
	if len(works) == 0 && !o.serve {
		return errors.New("no work has such a name")
	}
	if o.out != "" {
		if _, err := os.Stat(filepath.Dir(o.out)); err != nil {
			return fmt.Errorf("the report could not be written there: %w; without -out, run this at the root of the repository", err)
		}
	}
	dir, err := os.MkdirTemp(o.dir, "registry-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	facts := machineFacts(ctx, o.scale, dir)
	l, err := newLab(ctx, dir, o.scale, func(name string) bool {
		return slices.ContainsFunc(chosen, func(c *contestant) bool { return c.name == name })
	})
	if err != nil {
		return err
	}
	if err := l.makeSeed(ctx); err != nil {
		return fmt.Errorf("making the images: %w", err)
	}
	r := &run{lab: l, works: works, results: newResults(), profiles: o.profiles}
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.start(ctx, chosen); err != nil {
		return err
	}
	if o.serve {
		return r.wait(ctx, stdout)
	}
	r.measure(ctx)
	if len(r.results.samples) == 0 {
		return errors.Join(errors.New("nothing was measured"), ctx.Err())
	}
	return errors.Join(r.write(o, facts, stdout), r.failed(), ctx.Err())
}

// write writes the report and the plot.
func (r *run) write(o options, facts [][2]string, stdout io.Writer) error {
	report := report{
		facts: facts, entrants: r.entrants, works: r.works,
		aims: slices.Concat(aims(o.scale), floodAims()), notes: parseNotes(notes), results: r.results,
	}
	switch {
	case r.interrupted:
		report.heading = "**Interrupted: rounds are missing.**"
		o.out = "" // a file may hold the results of a whole run
	case o.quick:
		report.heading = "**A quick run, to see whether everything works: its numbers say nothing.**"
	}
	_, err := io.WriteString(stdout, report.markdown())
	if o.out == "" {
		return err
	}
	plot := strings.TrimSuffix(filepath.Base(o.out), filepath.Ext(o.out)) + ".svg"
	if drawn := measured(panels(o.scale), r.names(), r.results); len(drawn) > 0 {
		if plotErr := writePlot(filepath.Join(filepath.Dir(o.out), plot), drawn, r.names(), r.results); plotErr != nil {
			err = errors.Join(err, plotErr)
		} else {
			report.plot = plot
		}
	}
	return errors.Join(err, os.WriteFile(o.out, []byte(report.markdown()), 0o644)) //nolint:gosec // for everybody to read
}
