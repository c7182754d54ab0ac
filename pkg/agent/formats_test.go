package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testdata/usage-N.checkpoint is what an agent of format N wrote; the recordings are never changed.
func TestTheCheckpointOfEveryFormatIsRead(t *testing.T) {
	for version := 1; version <= checkpointVersion; version++ {
		content, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("usage-%d.checkpoint", version)))
		if err != nil {
			t.Fatal(err)
		}
		c, err := decodeCheckpoint(content, time.Date(2026, 11, 25, 3, 8, 0, 0, time.UTC))
		if err != nil {
			t.Errorf("format %d: %v", version, err)
			continue
		}
		if c.Capacity.MilliCPU != 2000 || len(c.Forecaster) == 0 || len(c.Workloads) == 0 {
			t.Errorf("format %d: %+v, want the capacity, forecaster and workloads that were saved", version, c)
		}
		// What is written now has the same fields: another set is another format, with another number.
		if version == checkpointVersion {
			written, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fieldsOf(t, string(content)), fieldsOf(t, string(written))); diff != "" {
				t.Errorf("the format changed, and its number %d did not (-recorded +written):\n%s", version, diff)
			}
		}
	}
}

func fieldsOf(t *testing.T, checkpoint string) map[string]bool {
	t.Helper()
	_, body, _ := strings.Cut(checkpoint, "\n")
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for name := range all {
		names[name] = true
	}
	return names
}
