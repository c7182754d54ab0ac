package openloop

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAnArrivalIsTheKernelsAndNotTheReaders(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	reader, err := newStampedReader(client)
	if err != nil {
		t.Fatal(err)
	}
	// The kernel begins to stamp a moment after it is asked for the first time.
	buffer, deadline := make([]byte, 16), time.Now().Add(10*time.Second)
	for stamped := false; !stamped; {
		if time.Now().After(deadline) {
			t.Fatal("what the kernel had before it was read is not stamped so")
		}
		if _, err := server.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		awaitReadable(t, reader)
		there := time.Now()
		<-time.After(20 * time.Millisecond)
		if n, err := reader.Read(buffer); n != 6 || err != nil {
			t.Fatalf("Read() = %d, %v, want 6", n, err)
		}
		stamped = !reader.at.After(there)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := reader.Read(buffer); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read() = %d, %v at the end, want EOF", n, err)
	}
}

// awaitReadable waits, in the kernel, until there is something to read.
func awaitReadable(t *testing.T, r *stampedReader) {
	t.Helper()
	err := r.conn.Control(func(fd uintptr) {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
