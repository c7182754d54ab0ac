package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/plimsoll/plimsoll/pkg/loadaware"
)

func explainCommand() *cobra.Command {
	c := &cobra.Command{Use: "explain", Short: "Tell why a pod was placed, throttled or evicted, and why a node lends no more"}
	c.AddCommand(explainPodCommand(), explainNodeCommand(), explainThrottleCommand(), explainEvictionCommand())
	return c
}

func explainPodCommand() *cobra.Command {
	var config rest.Config
	c := &cobra.Command{
		Use:   "pod NAMESPACE/NAME",
		Short: "Tell what the last decision about a pod was made of",
		Long: `Read the scheduler's record of its last decisions and show the last one about the pod: what it was expected
to need, which nodes were refused and why, and what the score of the best of the others was made of.

The record is at /configz on the scheduler's own port, behind its authentication: forward the port
(kubectl port-forward -n plimsoll-system deploy/plimsoll-scheduler 10259) and give a token that may
get the path /configz. The record holds the last 256 decisions of the scheduler that leads.

Ends with 0 when there is a decision, 1 when there is none, and 2 when the record could not be read.`,
		Args: cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&config.Host, "scheduler", "https://127.0.0.1:10259", "URL of the scheduler's port")
	c.Flags().StringVar(&config.BearerTokenFile, "token-file", "", "file with a token that may get /configz")
	c.Flags().StringVar(&config.CAFile, "ca-file", "", "file with the certificate authority of the scheduler's certificate")
	c.Flags().BoolVar(&config.Insecure, "insecure-skip-tls-verify", false, "do not verify the scheduler's certificate, which is self-signed unless it was given one")
	output := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(*output); err != nil {
			return err
		}
		namespace, name, ok := strings.Cut(args[0], "/")
		if !ok || namespace == "" || name == "" {
			return fmt.Errorf("pod %q: want NAMESPACE/NAME", args[0])
		}
		record, err := readRecord(cmd.Context(), &config)
		if err != nil {
			return err
		}
		d := lastDecision(record, namespace, name)
		if d == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "No decision about %s among the last %d.\n", args[0], len(record.Decisions))
			return errFound
		}
		if *output == "json" {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(d)
		}
		return showDecision(cmd.OutOrStdout(), d)
	}
	return c
}

// readRecord reads the scheduler's record of decisions.
func readRecord(ctx context.Context, config *rest.Config) (*loadaware.Record, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the scheduler: %w", err)
	}
	client.Timeout = 30 * time.Second
	url := strings.TrimSuffix(config.Host, "/") + "/configz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("--scheduler: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading the scheduler's record: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading %s: the scheduler answers %s; the token must be allowed to get the path /configz", url, response.Status)
	}
	var all map[string]json.RawMessage
	if err := json.NewDecoder(io.LimitReader(response.Body, 256<<20)).Decode(&all); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", url, err)
	}
	raw, ok := all[loadaware.ConfigzName]
	if !ok {
		return nil, fmt.Errorf("%s has no %q: this scheduler has no profile with the plugin %s", url, loadaware.ConfigzName, loadaware.Name)
	}
	record := &loadaware.Record{}
	if err := json.Unmarshal(raw, record); err != nil {
		return nil, fmt.Errorf("decoding %q of %s: %w", loadaware.ConfigzName, url, err)
	}
	return record, nil
}

func lastDecision(record *loadaware.Record, namespace, name string) *loadaware.Decision {
	for i := range slices.Backward(record.Decisions) {
		if d := &record.Decisions[i]; d.Namespace == namespace && d.Name == name {
			return d
		}
	}
	return nil
}

func showDecision(out io.Writer, d *loadaware.Decision) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	}
	row("Pod:", d.Namespace+"/"+d.Name)
	row("Decided:", fmt.Sprintf("%s by profile %s, mode %s", d.Time.Format(time.RFC3339), d.Profile, d.Mode))
	row("Went to:", cmp.Or(d.Node, "no node (yet)"))
	row("Expected:", fmt.Sprintf("%s, median %dm and peak %dm of CPU (by request %dm), %d MiB", d.Pod.Class, d.Pod.MedianMilliCPU, d.Pod.PeakMilliCPU, d.Pod.RequestMilliCPU, d.Pod.MemoryBytes>>20))
	if d.Pod.DurationSeconds > 0 {
		row("Runs for:", time.Duration(d.Pod.DurationSeconds)*time.Second)
	}
	for _, r := range d.RefusedNodes {
		row("Refused:", r.Node+": "+r.Reason)
	}
	for reason, n := range d.Refused {
		row("Refused:", fmt.Sprintf("%d nodes in all: %s", n, reason))
	}
	row("Considered:", fmt.Sprintf("%d nodes", d.Considered))
	if len(d.Nodes) > 0 {
		row("")
		row("NODE", "SCORE", "MEDIAN", "PEAK", "PRESSURE", "BATCH", "SAFE LINE", "EXPECTED EXCESS", "STALENESS")
	}
	for _, n := range d.Nodes {
		row(n.Node, n.Score, fmt.Sprint(n.Median, "m"), fmt.Sprint(n.Peak, "m"), fmt.Sprint(n.Pressure, "m"), fmt.Sprint(n.Batch, "m"),
			fmt.Sprint(n.SafeLine, "m"), fmt.Sprintf("%.1fm", n.ExpectedOver), fmt.Sprintf("%.2f", n.Staleness))
	}
	return w.Flush()
}
