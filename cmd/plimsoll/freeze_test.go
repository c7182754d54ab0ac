package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// aCluster answers for nodes n1, frozen already, and n2; test/cluster freezes nodes of a real API server.
func aCluster(t *testing.T) (kubeconfig string, patches func() map[string]string) {
	t.Helper()
	var mu sync.Mutex
	seen := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		name := strings.TrimPrefix(r.URL.Path, "/api/v1/nodes/")
		switch {
		case r.Method == http.MethodGet:
			fmt.Fprintf(w, `{"kind":"NodeList","apiVersion":"v1","items":[{"metadata":{"name":"n1","annotations":{%q:"2026-11-25T16:00:00Z"}}},{"metadata":{"name":"n2"}}]}`, v1alpha1.FreezeUntilAnnotation)
		case name == "n1" || name == "n2":
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			seen[name] = string(body)
			mu.Unlock()
			fmt.Fprintf(w, `{"kind":"Node","apiVersion":"v1","metadata":{"name":%q}}`, name)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"nodes %q not found","reason":"NotFound","code":404}`, name)
		}
	}))
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n", server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig, func() map[string]string {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

func TestFreezeAndUnfreezeAnnotateNodes(t *testing.T) {
	kubeconfig, patches := aCluster(t)
	runIt := func(args ...string) (int, string) {
		var out, problems strings.Builder
		code := run(t.Context(), append(args, "--kubeconfig", kubeconfig), &out, &problems)
		return code, out.String() + problems.String()
	}
	until := func(node string) time.Time {
		var p struct {
			Metadata struct {
				Annotations map[string]*string `json:"annotations"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal([]byte(patches()[node]), &p); err != nil {
			t.Fatalf("%s: %v", node, err)
		}
		value := p.Metadata.Annotations[v1alpha1.FreezeUntilAnnotation]
		if value == nil {
			return time.Time{}
		}
		at, err := time.Parse(time.RFC3339, *value)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	if code, text := runIt("freeze", "n2", "--for", "2h"); code != 0 || patches()["n1"] != "" || !strings.Contains(text, "n2 lends nothing more until") {
		t.Errorf("freeze n2: exit code %d, %s", code, text)
	}
	if left := time.Until(until("n2")); left < 2*time.Hour-time.Minute || left > 2*time.Hour {
		t.Errorf("n2 is frozen for %v, want two hours", left)
	}
	if code, text := runIt("freeze", "all", "--for", "1m"); code != 0 || until("n1").IsZero() || until("n2").After(time.Now().Add(time.Hour)) {
		t.Errorf("freeze all: exit code %d, %s", code, text)
	}
	clear(patches())
	if code, text := runIt("unfreeze", "all"); code != 0 || !until("n1").IsZero() || patches()["n2"] != "" {
		t.Errorf("unfreeze all: exit code %d, %s; patches %v, want only that of n1, which is frozen", code, text, patches())
	}
	for _, bad := range [][]string{{"freeze", "n1"}, {"freeze", "n1", "--for", "59s"}, {"freeze", "n1", "--for", "169h"}, {"freeze", "--for", "2h"}, {"freeze", "n3", "--for", "2h"}, {"unfreeze"}} {
		if code, text := runIt(bad...); code != exitError {
			t.Errorf("%v: exit code %d, want %d: %s", bad, code, exitError, text)
		}
	}
	if _, text := runIt("freeze", "n1", "--for", "169h"); !strings.Contains(text, "--for 169h0m0s: must be 1m0s to 168h0m0s") {
		t.Errorf("too long: %s", text)
	}
}
