// Command demo shows with real pods what batch work does to a latency-sensitive service, without
// Plimsoll and with it. It brings up a one-machine Kubernetes, runs several arms interleaved over several
// rounds and reports what the service's clients saw and what batch got. It is a demonstration on one
// machine, not a benchmark of machines.
//
// Units: latencies in milliseconds, CPU in cores and CPU seconds, batch work in units of a fixed number
// of iterations.
//
// The trap: single windows scatter, the alone arm's too. Compare medians over rounds that were
// interleaved, and look at the ranges before believing a difference.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

// options are the demo's settings.
type options struct {
	rounds       int
	roundSeconds int
	rate         float64
	batchThreads int
	seed         uint64
	keep         bool
	check        bool
	// matrix is bench-protect: more services, more kinds of batch work and more arms than the demo shows.
	matrix     bool
	services   string
	batchKinds string
	outDir     string
	source     string
	binDir     string
	cluster    localcluster.Options
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	settings, err := parse(args)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	out := newProgress(os.Stderr)
	on, windows, err := demonstrate(ctx, settings, out)
	switch {
	case settings.matrix && len(windows) > 0: // they took long: what there is of them is worth a report
		if err != nil {
			on.Warnings = append(on.Warnings, fmt.Sprintf("it ended with an error after %d windows: %v", len(windows), err))
		}
		return errors.Join(err, finishMatrix(os.Stdout, settings, on, windows))
	case ctx.Err() != nil:
		return errors.New("stopped before the last round: no report is written")
	case err != nil:
		return err
	}
	report, err := newReport(on, windows)
	if err != nil {
		return err
	}
	if err := writeReports(settings.outDir, report); err != nil {
		return err
	}
	printReport(os.Stdout, report, newStyle(os.Stdout))
	fmt.Printf("\nWritten: %s and %s\n", filepath.Join(settings.outDir, htmlName), filepath.Join(settings.outDir, jsonName))
	if settings.check && !report.met() {
		return errors.New("a target was missed")
	}
	return nil
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "rounds; each runs every arm once, in another order")
	flags.IntVar(&o.roundSeconds, "round-seconds", 6, "seconds measured of an arm in a round")
	flags.Float64Var(&o.rate, "rate", float64(400*runtime.NumCPU()), "requests per second, each of about 1 ms of CPU")
	flags.IntVar(&o.batchThreads, "batch-threads", max(4, 2*runtime.NumCPU()), "busy threads of the batch job; with one per core the arms cannot be told apart")
	flags.Uint64Var(&o.seed, "seed", 1, "seed of the arrival times and of the order of arms")
	flags.BoolVar(&o.matrix, "matrix", false, "measure every service beside every kind of batch work, and print a table of all (make bench-protect)")
	flags.StringVar(&o.services, "services", strings.Join(names(loads(), load.name), ","), "with --matrix: the services to measure")
	flags.StringVar(&o.batchKinds, "batch-kinds", strings.Join(names(batchKinds(), func(k batchKind) string { return k.name }), ","), "with --matrix: the kinds of batch work to run beside them")
	flags.BoolVar(&o.keep, "keep", os.Getenv("KEEP") == "1", "leave the cluster up afterwards; KEEP=1 in the environment does it too")
	flags.BoolVar(&o.check, "check", false, "end with an error when a target was missed")
	flags.StringVar(&o.outDir, "out-dir", ".", "folder for "+htmlName+" and "+jsonName)
	flags.StringVar(&o.binDir, "bin-dir", "", "folder of the cluster's binaries; what is missing is built (default: bin/ of the source tree)")
	flags.StringVar(&o.cluster.Dir, "dir", localcluster.DefaultDir(), "where the cluster lives")
	flags.IntVar(&o.cluster.Port, "port", localcluster.DefaultPort, "the API server's port on 127.0.0.1")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q: run demo --help", flags.Arg(0))
	case o.rounds < 1 || o.rounds > 1000:
		return o, fmt.Errorf("--rounds %d: must be between 1 and 1000", o.rounds)
	case o.roundSeconds < 1 || o.roundSeconds > 3600:
		return o, fmt.Errorf("--round-seconds %d: must be between 1 and 3600", o.roundSeconds)
	case o.rate <= 0 || o.rate > 1e5:
		return o, fmt.Errorf("--rate %g: must be above 0 and at most 100000", o.rate)
	case o.batchThreads < 1 || o.batchThreads > 4096:
		return o, fmt.Errorf("--batch-threads %d: must be between 1 and 4096", o.batchThreads)
	}
	if _, _, err := o.cells(); err != nil {
		return o, err
	}
	info, err := os.Stat(o.outDir)
	if err != nil {
		return o, fmt.Errorf("--out-dir: %w", err)
	}
	if !info.IsDir() {
		return o, fmt.Errorf("--out-dir %s: is not a folder", o.outDir)
	}
	return o, o.findSource()
}

// findSource finds the source tree, which the images are built from.
func (o *options) findSource() error {
	wd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("finding the working directory: %w", err)
	}
	if o.source = localcluster.FindSource(wd); o.source == "" {
		return errors.New("this is not a clone of Plimsoll: run the demo inside one, it builds the images from it")
	}
	if o.binDir == "" {
		o.binDir = filepath.Join(o.source, "bin")
	}
	return nil
}

// roundDuration is what is measured of an arm in a round.
func (o *options) roundDuration() time.Duration { return time.Duration(o.roundSeconds) * time.Second }
