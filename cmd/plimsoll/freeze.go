package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/freeze"
)

// allNodes is the argument that means every node.
const allNodes = "all"

// leastFreeze is the shortest freeze by hand: agents need a moment to hear of it.
const leastFreeze = time.Minute

func freezeCommand() *cobra.Command {
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "freeze NODE|all --for DURATION",
		Short: "Lend nothing more to batch work, at once and for some time",
		Long: `Hold back all that a node, or every node, could lend to batch work, for some time from now on: the Node offers no more than
what running pods were lent, and strategy batchcap, where it enforces, takes batch work down to its floor. It ends by itself, or with
"plimsoll unfreeze". A freeze that is there is replaced, be it longer or shorter.

It sets the annotation ` + v1alpha1.FreezeUntilAnnotation + ` of the Nodes, which needs the right to patch nodes. Agents see it within a second or two.

Ends with 0 when every node was told, and 2 otherwise.`,
		Args: cobra.ExactArgs(1),
	}
	a := accessFlags(cmd)
	cmd.Flags().DurationVar(&length, "for", 0, "how long: 1m to 168h, as in 2h or 90m; required")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if length < leastFreeze || length > freeze.MostByHand {
			return fmt.Errorf("--for %v: must be %v to %v", length, leastFreeze, freeze.MostByHand)
		}
		until := time.Now().Add(length).UTC().Format(time.RFC3339)
		return annotate(cmd.Context(), a, cmd.OutOrStdout(), args[0], &until)
	}
	return cmd
}

func unfreezeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unfreeze NODE|all",
		Short: "End what plimsoll freeze began",
		Long: `Take the annotation that "plimsoll freeze" set off a node, or off every node that has it. What is lent rises as after any other rise,
once it could have been lent for raiseAfterSeconds. Freeze windows of the agents' configuration are not touched.

Ends with 0 when every node was told, and 2 otherwise.`,
		Args: cobra.ExactArgs(1),
	}
	a := accessFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return annotate(cmd.Context(), a, cmd.OutOrStdout(), args[0], nil)
	}
	return cmd
}

// annotate sets, or with nil takes off, the annotation of one node or all. It goes on after a node that fails.
func annotate(ctx context.Context, a *access, out io.Writer, target string, until *string) error {
	client, err := a.clientset()
	if err != nil {
		return err
	}
	nodes := []string{target}
	if target == allNodes {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("listing nodes: %w", err)
		}
		nodes = nil
		for i := range list.Items {
			if _, frozen := list.Items[i].Annotations[v1alpha1.FreezeUntilAnnotation]; until != nil || frozen {
				nodes = append(nodes, list.Items[i].Name)
			}
		}
		if len(nodes) == 0 {
			fmt.Fprintln(out, "No node to change.")
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{v1alpha1.FreezeUntilAnnotation: until}}})
	if err != nil {
		return fmt.Errorf("encoding the annotation: %w", err)
	}
	var errs []error
	for _, n := range nodes {
		if _, err := client.CoreV1().Nodes().Patch(ctx, n, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "plimsoll-cli"}); err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", n, err))
			continue
		}
		if until != nil {
			fmt.Fprintf(out, "%s lends nothing more until %s.\n", n, *until)
		} else {
			fmt.Fprintf(out, "%s is not frozen by hand any more.\n", n)
		}
	}
	return errors.Join(errs...)
}
