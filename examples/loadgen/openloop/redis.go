package openloop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
)

// A request to Redis is so many pairs of SET and GET of values of that size in one pipeline: a fifth of a
// millisecond of its CPU or so. With single commands the generator would work as hard as the server.
const (
	redisPairs      = 20
	redisValueBytes = 1024
)

// NewRedis returns a function that opens connections to a Redis server, redis://HOST:PORT.
func NewRedis(target string) (func(context.Context) (Connection, error), error) {
	parsed, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("parsing target: %w", err)
	}
	if parsed.Scheme != "redis" || parsed.Port() == "" || parsed.Path != "" {
		return nil, fmt.Errorf("target %q: want redis://HOST:PORT", target)
	}
	value := bytes.Repeat([]byte("v"), redisValueBytes)
	var request, want []byte
	for i := range redisPairs {
		key := fmt.Sprintf("key%02d", i)
		request = fmt.Appendf(request, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
		request = fmt.Appendf(request, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(key), key)
		want = fmt.Appendf(want, "+OK\r\n$%d\r\n%s\r\n", len(value), value)
	}
	return dialer(parsed.Host, request, func(reader *bufio.Reader) (bool, error) { return true, readRedis(reader, want) }), nil
}

// readRedis reads the answer that is wanted. Redis answers what it refuses with a line that begins with a minus.
func readRedis(reader *bufio.Reader, want []byte) error {
	first, err := reader.Peek(1)
	if err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	if first[0] == '-' {
		line, err := reader.ReadString('\n')
		return errors.Join(fmt.Errorf("redis refused: %q", line), err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(reader, got); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("redis answered otherwise than with what was stored: %.40q", got)
	}
	return nil
}
