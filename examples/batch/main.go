// Command batch is the throughput-oriented job of the examples: busy threads that count the work they
// finish. It keeps every CPU it is given busy and cares about nothing but the sum; it is not a benchmark
// of the machine.
//
// Units: work is counted in units of --unit-iterations iterations of package spin, CPU in seconds,
// memory in MiB.
//
// The trap: give it at least twice as many threads as the machine has cores. With one a core an
// unprotected service still finds its core free most of the time, and protection shows no effect.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "batch: %v\n", err)
		os.Exit(1)
	}
}

// childArgument makes the binary exit at once: it is what --mode fork starts.
const childArgument = "child-of-batch"

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 1 && args[0] == childArgument {
		return nil
	}
	var settings job
	flags := flag.NewFlagSet("batch", flag.ContinueOnError)
	flags.IntVar(&settings.threads, "threads", 2*runtime.NumCPU(), "busy threads")
	flags.Int64Var(&settings.unitIterations, "unit-iterations", 500_000, "iterations in a unit of work; a thread looks up between two units")
	flags.IntVar(&settings.churnMiB, "churn-mib", 0, "memory that all threads together keep writing to, a page after the other")
	mode := flags.String("mode", string(spinMode), "what a thread does besides its iterations: spin (nothing), fork (start a process a unit), mmap (map, write and unmap 1 MiB a unit), cache (write 1 MiB of a file a unit, and read 1 MiB)")
	flags.StringVar(&settings.scratch, "scratch", os.TempDir(), "folder of the files of --mode cache")
	duration := flags.Duration("duration", 0, "how long to work; 0 is until SIGTERM")
	listen := flags.String("listen", "", "address to serve /status and /metrics on; empty serves nothing")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q: run batch --help", flags.Arg(0))
	}
	settings.mode = workMode(*mode)
	if err := settings.validate(); err != nil {
		return err
	}
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	progress := newProgress(settings)
	if *listen != "" {
		stop, err := serveStatus(ctx, *listen, progress)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := settings.work(ctx, progress); err != nil {
		return err
	}
	status, err := progress.status()
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(status)
}

// serveStatus serves in the background until the returned function is called.
func serveStatus(ctx context.Context, listen string, progress *progress) (stop func(), err error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", listen, err)
	}
	slog.InfoContext(ctx, "serving", "address", listener.Addr().String())
	server := &http.Server{Handler: newHandler(progress), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		// The job is the counting; without its status it goes on.
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			slog.ErrorContext(ctx, "serving the status failed", "error", err)
		}
	}()
	return func() { _ = server.Close() }, nil
}
