package cluster

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

func TestAnImageIsTheSameEachTimeItIsBuilt(t *testing.T) {
	build := func() []byte {
		t.Helper()
		archives, err := localcluster.BuildImages(t.Context(), localcluster.FindSource("."), t.TempDir(), []string{"plimsoll-agent"}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(archives[0])
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	if first, second := build(), build(); !bytes.Equal(first, second) {
		t.Errorf("two builds of the agent's image differ: %d and %d bytes", len(first), len(second))
	}
}
