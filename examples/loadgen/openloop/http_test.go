package openloop

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

func TestHTTPConnectionIsReusedAndRecovers(t *testing.T) {
	var requests atomic.Int64
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch requests.Add(1) {
		case 3:
			w.WriteHeader(http.StatusInternalServerError)
		case 4:
			w.Header().Set("Connection", "close")
		case 5:
			<-hang
		}
		_, _ = w.Write([]byte("answer to " + r.URL.RequestURI()))
	}))
	defer server.Close()
	defer close(hang)
	connect, err := NewHTTP(server.URL + "/pay?amount=1")
	if err != nil {
		t.Fatal(err)
	}
	connection, err := connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	soon := func() time.Time { return time.Now().Add(10 * time.Second) }
	for _, row := range []struct {
		name     string
		deadline time.Time
		want     func(error) bool
	}{
		{"first request", soon(), isNil},
		{"same connection again", soon(), isNil},
		{"status 500 is an error", soon(), func(err error) bool { return err != nil }},
		{"server closes after the answer", soon(), isNil},
		{"no answer in time", time.Now().Add(50 * time.Millisecond), func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }},
		{"dialled again after the time-out", soon(), isNil},
	} {
		if _, err := connection.Exchange(row.deadline); !row.want(err) {
			t.Errorf("%s: Exchange() = %v", row.name, err)
		}
	}
}

func isNil(err error) bool { return err == nil }

func TestNewHTTPRefusesTargetsItCannotReach(t *testing.T) {
	for _, target := range []string{"", "127.0.0.1:80", "https://127.0.0.1/", "http://", "http://a b"} {
		if _, err := NewHTTP(target); err == nil {
			t.Errorf("NewHTTP(%q) = nil, want an error", target)
		}
	}
}

func TestSleepUntilDoesNotReturnEarly(t *testing.T) {
	at := time.Now().Add(3 * time.Millisecond)
	SleepUntil(at)
	if early := time.Until(at); early > 0 {
		t.Errorf("returned %s early", early)
	}
	SleepUntil(time.Now().Add(-time.Hour))
}
