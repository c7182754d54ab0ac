package openloop

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"
)

// dialer returns a function that opens connections which send one fixed request. There are no goroutines
// between a request and its answer, so that the generator uses little of the CPU that it shares with the service.
func dialer(address string, request []byte, read func(*bufio.Reader) (reusable bool, err error)) func(context.Context) (Connection, error) {
	return func(ctx context.Context) (Connection, error) {
		connection := &tcpConnection{address: address, request: request, read: read}
		if err := connection.dial(ctx); err != nil {
			return nil, err
		}
		return connection, nil
	}
}

// tcpConnection is a TCP connection that is dialled again after an error.
type tcpConnection struct {
	address string
	request []byte
	read    func(*bufio.Reader) (reusable bool, err error)
	conn    net.Conn
	reader  *bufio.Reader
}

func (c *tcpConnection) dial(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	c.conn, c.reader = conn, bufio.NewReader(conn)
	return nil
}

// Exchange implements Connection.
func (c *tcpConnection) Exchange(deadline time.Time) error {
	if c.conn == nil {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		if err := c.dial(ctx); err != nil {
			return err
		}
	}
	reusable, err := c.roundTrip(deadline)
	if err != nil || !reusable {
		// The error that matters is the exchange's.
		_ = c.Close()
	}
	return err
}

func (c *tcpConnection) roundTrip(deadline time.Time) (reusable bool, err error) {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return false, fmt.Errorf("setting deadline: %w", err)
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return false, fmt.Errorf("sending request: %w", err)
	}
	return c.read(c.reader)
}

// Close implements Connection.
func (c *tcpConnection) Close() error {
	if c.conn == nil {
		return nil
	}
	conn := c.conn
	c.conn, c.reader = nil, nil
	return conn.Close()
}
