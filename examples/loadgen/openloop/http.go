package openloop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sys/unix"
)

// NewHTTP returns a function that opens keep-alive HTTP/1.1 connections for GET requests of one URL.
// The request's bytes are made once, and there are no goroutines between a request and its answer, so
// that the generator uses little of the CPU that it shares with the service.
func NewHTTP(target string) (func(context.Context) (Connection, error), error) {
	parsed, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("parsing target: %w", err)
	}
	if parsed.Scheme != "http" || parsed.Host == "" {
		return nil, fmt.Errorf("target %q: want http://HOST:PORT/PATH", target)
	}
	address := parsed.Host
	if parsed.Port() == "" {
		address = net.JoinHostPort(parsed.Hostname(), "80")
	}
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: loadgen\r\n\r\n", parsed.RequestURI(), parsed.Host)
	return dialer(address, request, readHTTP), nil
}

// readHTTP reads one answer; one that says so ends the connection.
func readHTTP(reader *bufio.Reader) (reusable bool, err error) {
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return false, fmt.Errorf("reading answer: %w", err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return false, errors.Join(fmt.Errorf("reading body: %w", err), response.Body.Close())
	}
	if err := response.Body.Close(); err != nil {
		return false, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return false, fmt.Errorf("target answered status %d", response.StatusCode)
	}
	return !response.Close, nil
}

// SleepUntil sleeps in the kernel. The runtime's own timers wait in epoll_wait, whose resolution of a
// millisecond is as long as the requests that are measured.
func SleepUntil(at time.Time) {
	for {
		left := time.Until(at)
		if left <= 0 {
			return
		}
		request := unix.NsecToTimespec(int64(left))
		// Interrupted by a signal it returns early, and the loop sleeps on.
		_ = unix.Nanosleep(&request, nil)
	}
}
