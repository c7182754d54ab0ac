// Command loadgen sends an open-loop Poisson load to one HTTP URL or Redis server and reports the latencies that the
// clients would see. It is a measuring instrument for one service, not a general load tool: see package
// openloop for why it exists and how it measures.
//
// Units: the result's field names say them; latencies are in milliseconds.
//
// The trap: without --realtime on the machine under test, the wait of the generator itself for a CPU
// counts as the service's latency.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/plimsoll/plimsoll/examples/loadgen/openloop"
)

const usage = `Usage:
  loadgen --target URL [flags]    run once and print the result
  loadgen serve [flags]           run when asked by POST /run?rate=800&duration=6s&...

`

// options are one run's settings; in serve mode they are the defaults of a request.
type options struct {
	target      string
	rate        float64
	duration    time.Duration
	warmup      time.Duration
	timeout     time.Duration
	seed        uint64
	connections int
	realtime    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "loadgen: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	serving := len(args) > 0 && args[0] == "serve"
	if serving {
		args = args[1:]
	}
	var settings options
	flags := flag.NewFlagSet("loadgen", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage, "Flags:\n")
		flags.PrintDefaults()
	}
	flags.StringVar(&settings.target, "target", "", "URL to request, http://HOST:PORT/PATH or redis://HOST:PORT")
	flags.Float64Var(&settings.rate, "rate", 800, "mean requests per second")
	flags.DurationVar(&settings.duration, "duration", 10*time.Second, "how long to measure")
	flags.DurationVar(&settings.warmup, "warmup", time.Second, "how long to send before measuring")
	flags.DurationVar(&settings.timeout, "timeout", 10*time.Second, "time limit of a request, from when it is due")
	flags.Uint64Var(&settings.seed, "seed", 1, "seed of the arrival times")
	flags.IntVar(&settings.connections, "connections", 64, "keep-alive connections; requests wait for a free one")
	flags.BoolVar(&settings.realtime, "realtime", false, "run with real-time priority, as clients on other machines would")
	output := flags.String("output", "text", "text or json")
	listen := flags.String("listen", "127.0.0.1:8082", "address to serve on, with serve")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q: run loadgen --help", flags.Arg(0))
	}
	if *output != "text" && *output != "json" {
		return fmt.Errorf("--output %q: want text or json", *output)
	}
	if serving {
		return serve(ctx, *listen, settings)
	}
	if settings.target == "" {
		return errors.New("--target is missing: give the URL to request")
	}
	if settings.realtime {
		if err := setRealtime(ownThreads()); err != nil {
			return fmt.Errorf("%w; leave out --realtime to measure without it", err)
		}
	}
	result, err := settings.measure(ctx)
	if err != nil {
		return err
	}
	if settings.realtime {
		result.RealtimePriority = realtimePriority
	}
	if *output == "json" {
		return json.NewEncoder(stdout).Encode(result)
	}
	return printText(stdout, result)
}

// measure does one run.
func (o options) measure(ctx context.Context) (*openloop.Result, error) {
	newConnect := openloop.NewHTTP
	if strings.HasPrefix(o.target, "redis:") {
		newConnect = openloop.NewRedis
	}
	connect, err := newConnect(o.target)
	if err != nil {
		return nil, err
	}
	result, err := openloop.Run(ctx, openloop.Config{
		RatePerSecond: o.rate,
		Warmup:        o.warmup,
		Duration:      o.duration,
		Seed:          o.seed,
		Timeout:       o.timeout,
		Connections:   o.connections,
		Connect:       connect,
		SleepUntil:    openloop.SleepUntil,
	})
	if err != nil {
		return nil, err
	}
	result.Target = o.target
	return result, nil
}

func printText(stdout io.Writer, result *openloop.Result) error {
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "due\trequests\terrors\ttimeouts\tp50 ms\tp90 ms\tp99 ms\tp99.9 ms\tmax ms\tp99 at the service ms\t")
	fmt.Fprintf(table, "%d\t%d\t%d\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", result.Due, result.Requests, result.Errors,
		result.Timeouts, result.P50Ms, result.P90Ms, result.P99Ms, result.P999Ms, result.MaxMs, result.AtServiceP99Ms)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	return nil
}
