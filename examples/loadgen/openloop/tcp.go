package openloop

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
	arrived *stampedReader
	reader  *bufio.Reader
}

func (c *tcpConnection) dial(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	if c.arrived, err = newStampedReader(conn); err != nil {
		return errors.Join(err, conn.Close())
	}
	c.conn, c.reader = conn, bufio.NewReader(c.arrived)
	return nil
}

// Exchange implements Connection.
func (c *tcpConnection) Exchange(deadline time.Time) (Exchanged, error) {
	if c.conn == nil {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		if err := c.dial(ctx); err != nil {
			return Exchanged{}, err
		}
	}
	exchanged, reusable, err := c.roundTrip(deadline)
	if err != nil || !reusable {
		// The error that matters is the exchange's.
		_ = c.Close()
	}
	return exchanged, err
}

func (c *tcpConnection) roundTrip(deadline time.Time) (exchanged Exchanged, reusable bool, err error) {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return exchanged, false, fmt.Errorf("setting deadline: %w", err)
	}
	exchanged.Sent = time.Now()
	if _, err := c.conn.Write(c.request); err != nil {
		return exchanged, false, fmt.Errorf("sending request: %w", err)
	}
	reusable, err = c.read(c.reader)
	exchanged.Answered = c.arrived.at
	return exchanged, reusable, err
}

// Close implements Connection.
func (c *tcpConnection) Close() error {
	if c.conn == nil {
		return nil
	}
	conn := c.conn
	c.conn, c.arrived, c.reader = nil, nil, nil
	return conn.Close()
}

// stampedReader reads a TCP connection and keeps when the kernel had the last of what was read (SO_TIMESTAMPNS, which
// net does not tell of), by the wall clock. That is before the reader gets a CPU to read it.
type stampedReader struct {
	conn  syscall.RawConn
	space []byte
	at    time.Time
}

func newStampedReader(conn net.Conn) (*stampedReader, error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("reading times of arrival: %T is no TCP connection", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reading times of arrival: %w", err)
	}
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
	if err := errors.Join(controlErr, err); err != nil {
		return nil, fmt.Errorf("asking the kernel for times of arrival: %w", err)
	}
	return &stampedReader{conn: raw, space: make([]byte, unix.CmsgSpace(timespecBytes))}, nil
}

// timespecBytes is the size of the kernel's 64-bit timespec.
const timespecBytes = 16

// Read implements io.Reader.
func (r *stampedReader) Read(p []byte) (n int, err error) {
	var ancillary int
	waitErr := r.conn.Read(func(fd uintptr) bool {
		for {
			n, ancillary, _, _, err = unix.Recvmsg(int(fd), p, r.space, 0)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	switch {
	case waitErr != nil: // the deadline, or closed
		return 0, waitErr
	case err != nil:
		return 0, fmt.Errorf("receiving: %w", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	r.at = arrival(r.space[:ancillary])
	return n, nil
}

// arrival is the time of a message of SO_TIMESTAMPNS, and now where the kernel gave none.
func arrival(ancillary []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(ancillary)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= timespecBytes {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}
