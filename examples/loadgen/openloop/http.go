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
	return func(ctx context.Context) (Connection, error) {
		connection := &httpConnection{address: address, request: request}
		if err := connection.dial(ctx); err != nil {
			return nil, err
		}
		return connection, nil
	}, nil
}

// httpConnection is a TCP connection that is dialled again after an error.
type httpConnection struct {
	address string
	request []byte
	conn    net.Conn
	reader  *bufio.Reader
}

func (c *httpConnection) dial(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	c.conn, c.reader = conn, bufio.NewReader(conn)
	return nil
}

// Exchange implements Connection.
func (c *httpConnection) Exchange(deadline time.Time) error {
	if c.conn == nil {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		if err := c.dial(ctx); err != nil {
			return err
		}
	}
	status, reusable, err := c.roundTrip(deadline)
	if err != nil || !reusable {
		// The error that matters is the exchange's.
		_ = c.Close()
	}
	if err != nil {
		return err
	}
	if status >= http.StatusBadRequest {
		return fmt.Errorf("target answered status %d", status)
	}
	return nil
}

func (c *httpConnection) roundTrip(deadline time.Time) (status int, reusable bool, err error) {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return 0, false, fmt.Errorf("setting deadline: %w", err)
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return 0, false, fmt.Errorf("sending request: %w", err)
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, false, fmt.Errorf("reading answer: %w", err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, false, errors.Join(fmt.Errorf("reading body: %w", err), response.Body.Close())
	}
	return response.StatusCode, !response.Close, response.Body.Close()
}

// Close implements Connection.
func (c *httpConnection) Close() error {
	if c.conn == nil {
		return nil
	}
	conn := c.conn
	c.conn, c.reader = nil, nil
	return conn.Close()
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
