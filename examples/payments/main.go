// Command payments is the latency-sensitive service of the examples: each request burns a fixed amount
// of CPU and is answered. It is not a model of a payment system; it is a service whose latency depends
// on nothing but the CPU time it gets, which makes it a measuring instrument.
//
// Units: work is in iterations of package spin, times in metrics are in seconds.
//
// The trap: the histogram on /metrics starts when the handler starts. Time a request spends waiting
// for a CPU before that, in the kernel's queues or the runtime's, is not in it. The client's view,
// which has it, is what loadgen measures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/plimsoll/plimsoll/examples/internal/spin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "payments: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) > 0 && args[0] == "calibrate" {
		_, err := fmt.Fprintln(stdout, spin.IterationsPerMillisecond())
		return err
	}
	flags := flag.NewFlagSet("payments", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8081", "address to serve on")
	workIterations := flags.Int64("work-iterations", 0,
		"iterations of work per request; pass the same number to every run that is to be compared. 0 calibrates --work at start")
	work := flags.Duration("work", time.Millisecond, "CPU time per request to calibrate for, when --work-iterations is 0")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "Usage:\n  payments [flags]      serve\n  payments calibrate    print the iterations that take a millisecond\n\nFlags:\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q: run payments --help", flags.Arg(0))
	}
	if *workIterations < 0 || *work <= 0 {
		return fmt.Errorf("--work-iterations %d, --work %s: work must not be negative", *workIterations, *work)
	}
	if *workIterations == 0 {
		*workIterations = int64(float64(spin.IterationsPerMillisecond()) * float64(*work) / float64(time.Millisecond))
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", *listen, err)
	}
	slog.InfoContext(ctx, "serving", "address", listener.Addr().String(), "workIterations", *workIterations)
	return serve(ctx, listener, newHandler(*workIterations))
}

// shutdownGrace bounds how long requests under way may still take once the service is told to stop.
const shutdownGrace = 5 * time.Second

// serve answers requests until the context ends, then finishes those under way.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	graceCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(graceCtx); err != nil {
		return fmt.Errorf("shutting down: %w", err)
	}
	return nil
}
