package openloop

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// answering serves one connection: it reads a whole request and sends what answer makes of it.
func answering(t *testing.T, answer func(request []byte) string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		request := make([]byte, redisPairs*(len("*3\r\n$3\r\nSET\r\n$5\r\nkey00\r\n$1024\r\n\r\n*2\r\n$3\r\nGET\r\n$5\r\nkey00\r\n")+redisValueBytes))
		reader := bufio.NewReader(conn)
		for {
			if _, err := io.ReadFull(reader, request); err != nil {
				return
			}
			if _, err := conn.Write([]byte(answer(request))); err != nil {
				return
			}
		}
	}()
	return "redis://" + listener.Addr().String()
}

func TestARedisExchangeReadsWhatItStored(t *testing.T) {
	good := strings.Repeat("+OK\r\n$1024\r\n"+strings.Repeat("v", redisValueBytes)+"\r\n", redisPairs)
	for name, tc := range map[string]struct{ answer, wantErr string }{
		"stored":         {good, ""},
		"refused":        {"-OOM command not allowed\r\n", "OOM"},
		"something else": {strings.Replace(good, "v", "w", 1), "otherwise"},
	} {
		t.Run(name, func(t *testing.T) {
			connect, err := NewRedis(answering(t, func([]byte) string { return tc.answer }))
			if err != nil {
				t.Fatal(err)
			}
			connection, err := connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = connection.Close() }()
			for range 2 { // the connection is used again
				_, err = connection.Exchange(time.Now().Add(10 * time.Second))
				if tc.wantErr != "" {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("Exchange() = %v, want %q", err, tc.wantErr)
			}
		})
	}
}

func TestNewRedisRefusesTargetsItCannotReach(t *testing.T) {
	for _, target := range []string{"", "redis://", "redis://host", "http://host:6379", "redis://host:6379/0", "redis://a b"} {
		if _, err := NewRedis(target); err == nil {
			t.Errorf("NewRedis(%q) = nil, want an error", target)
		}
	}
}
