package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/audit"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Look into a node's audit log"}
	c.AddCommand(auditVerifyCommand())
	return c
}

func auditVerifyCommand() *cobra.Command {
	var anchors []string
	c := &cobra.Command{
		Use:   "verify [DIRECTORY]",
		Short: "Find out whether an audit log is as it was written",
		Long: `Check every line of an audit log against its chain: that none was removed, edited, moved or cut off.
DIRECTORY is /var/lib/plimsoll/audit unless it is given. The log may be in use.

Ends with 0 when the log is intact, 1 when it is not, and 2 when it could not be read.

The chain has no secret: who can write all of its files can write a false one. Keep what verify prints
as "last record" somewhere else, and give it to a later verify with --anchor.`,
		Args: cobra.MaximumNArgs(1),
	}
	output := outputFlag(c)
	c.Flags().StringSliceVar(&anchors, "anchor", nil, "SEQUENCE:HASH of a record that must be in the log; may be repeated")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(*output); err != nil {
			return err
		}
		dir := slices.Concat(args, []string{"/var/lib/plimsoll/audit"})[0]
		var known []audit.Anchor
		for _, text := range anchors {
			a, err := audit.ParseAnchor(text)
			if err != nil {
				return fmt.Errorf("--anchor: %w", err)
			}
			known = append(known, a)
		}
		report, err := audit.Verify(dir, known...)
		if err != nil {
			return fmt.Errorf("%w%s", err, remedy(err))
		}
		return showAudit(cmd.OutOrStdout(), dir, report, *output)
	}
	return c
}

// remedy is what to do about an audit log that could not be read.
func remedy(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, audit.ErrNoLog):
		return ": give the directory that plimsoll-agent was given with --audit-dir (audit in its --state-dir unless that was changed)"
	case errors.Is(err, fs.ErrPermission):
		return ": the files belong to root: run it as root, or on a copy"
	default:
		return ""
	}
}

func showAudit(out io.Writer, dir string, r *audit.Report, output string) error {
	if output == "json" {
		if err := printJSON(out, r); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	} else {
		for _, n := range r.Notes {
			fmt.Fprintln(out, "note:", n)
		}
		for _, p := range r.Problems {
			fmt.Fprintln(out, paint(out, red, "problem:"), p)
		}
		verdict := paint(out, green, "intact")
		if n := len(r.Problems); n > 0 {
			verdict = paint(out, red, fmt.Sprintf("NOT intact (problems: %d)", n))
		}
		fmt.Fprintf(out, "%s: %s: %d records in %d files\n", dir, verdict, r.Records, r.Files)
		if r.Last != nil {
			fmt.Fprintln(out, "last record:", r.Last)
		}
	}
	if len(r.Problems) > 0 {
		return errFound
	}
	return nil
}
