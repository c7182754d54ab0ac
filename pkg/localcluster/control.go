package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// serveControl answers on the instance's socket. Who may open a socket in the instance's directory may
// do with the instance what they like.
func (s *supervisor) serveControl(ctx context.Context) error {
	path := s.inst.layout().controlSocket()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the old control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("opening the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("closing the control socket to others: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /components", func(w http.ResponseWriter, _ *http.Request) {
		var cs []ComponentStatus
		for _, name := range s.order {
			cs = append(cs, s.units[name].status())
		}
		if err := json.NewEncoder(w).Encode(cs); err != nil {
			s.log.Warn("answering a status request", "error", err)
		}
	})
	mux.HandleFunc("POST /restart/{component}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.restart(r.PathValue("component")); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { srv.Close() })
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("serving the control socket", "error", err)
		}
	}()
	return nil
}

// errNoSupervisor means that the instance's supervisor does not run. Any other error means that it does, and could not comply.
var errNoSupervisor = errors.New("the supervisor is not running: `plimsoll-local up` starts it again")

// control asks the supervisor of an instance for something.
func control(ctx context.Context, l Layout, method, path string) ([]byte, error) {
	c := &http.Client{Transport: &http.Transport{DialContext: unixDialer(l.controlSocket()), DisableKeepAlives: true}, Timeout: 10 * time.Second}
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("making a control request: %w", err)
	}
	resp, err := c.Do(req)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return nil, errNoSupervisor
		}
		return nil, fmt.Errorf("asking the supervisor: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the supervisor's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(b)))
	}
	return b, nil
}

func componentStatuses(ctx context.Context, l Layout) ([]ComponentStatus, error) {
	b, err := control(ctx, l, http.MethodGet, "/components")
	if err != nil {
		return nil, err
	}
	var cs []ComponentStatus
	if err := json.Unmarshal(b, &cs); err != nil {
		return nil, fmt.Errorf("decoding the supervisor's answer: %w", err)
	}
	return cs, nil
}
