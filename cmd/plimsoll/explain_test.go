package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/loadaware"
)

func TestExplainShowsTheLastDecisionAboutAPod(t *testing.T) {
	decision := func(node string) loadaware.Decision {
		return loadaware.Decision{
			Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Profile: "plimsoll-scheduler", Mode: "Enforce", Namespace: "payments", Name: "web-1",
			Pod: loadaware.Need{Class: "LatencySensitive", MedianMilliCPU: 100, PeakMilliCPU: 150}, Node: node, Considered: 1,
			Refused: map[string]int{"CPU": 1}, RefusedNodes: []loadaware.RefusedNode{{Node: "hot", Reason: "CPU"}},
			Nodes: []loadaware.NodeDecision{{Node: node, Score: 97, Prospect: loadaware.Prospect{Peak: 1234, SafeLine: 3200, ExpectedOver: 0.5}}},
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/configz":
			http.NotFound(w, r)
		case r.Header.Get("Authorization") != "Bearer secret":
			http.Error(w, "no", http.StatusForbidden)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{
				"componentconfig":     map[string]any{},
				loadaware.ConfigzName: loadaware.Record{Decisions: []loadaware.Decision{decision("first"), decision("second")}},
			})
		}
	}))
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"a table":                {[]string{"payments/web-1", "--token-file", token}, exitOK, []string{"second", "97", "1234m", "3200m", "hot: CPU"}},
		"a pod that is unknown":  {[]string{"payments/web-2", "--token-file", token}, exitFound, []string{"No decision about payments/web-2 among the last 2"}},
		"a name without a slash": {[]string{"web-1"}, exitError, []string{"NAMESPACE/NAME"}},
		"no right to read it":    {[]string{"payments/web-1"}, exitError, []string{"403", "/configz"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out, problems bytes.Buffer
			code := run(t.Context(), append([]string{"explain", "pod", "--scheduler", server.URL}, tt.args...), &out, &problems)
			all := out.String() + problems.String()
			if code != tt.code {
				t.Errorf("exit code %d, want %d:\n%s", code, tt.code, all)
			}
			for _, want := range tt.want {
				if !strings.Contains(all, want) {
					t.Errorf("output = %s\nwant it to contain %q", all, want)
				}
			}
			if strings.Contains(all, "first") {
				t.Errorf("an earlier decision is shown:\n%s", all)
			}
		})
	}
}
