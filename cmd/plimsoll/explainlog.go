package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/audit"
)

// logQuestion is what is asked of an audit log.
type logQuestion struct {
	kind audit.Kind
	// pod is NAMESPACE/NAME, empty for all.
	pod    string
	at     time.Time
	within time.Duration
}

// logAnswer is what the log says.
type logAnswer struct {
	Intact bool `json:"intact"`
	// Before is, of each setting, the last write before the time asked about that still held then.
	Before []audit.Record `json:"before,omitempty"`
	// Around are the records of the time asked about.
	Around []audit.Record `json:"around"`
}

func explainThrottleCommand() *cobra.Command {
	return explainLogCommand(audit.KindWrite, "throttle [NAMESPACE/POD]", "Tell which settings held batch work back at a time, and why", `Read an audit log and tell, for a time, which kernel settings were written to the pod's groups and to the branch that all
batch work is in: what was read, which strategy decided what and why, and what the kernel made of the write. Settings that were
written before and still held then come first. Without a pod, all groups are shown.

  plimsoll explain throttle risk/nightly-7 --at "2026-03-02 10:02"`)
}

func explainEvictionCommand() *cobra.Command {
	return explainLogCommand(audit.KindEviction, "eviction [NAMESPACE/POD]", "Tell why a batch pod was evicted", `Read an audit log and tell which batch pods were evicted around a time, or could not be, and why: what was read and
which strategy decided it.

  plimsoll explain eviction risk/nightly-7 --at "2026-03-02 10:02" --within 1h`)
}

func explainLogCommand(kind audit.Kind, use, short, long string) *cobra.Command {
	var dir, when string
	q := logQuestion{kind: kind}
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.MaximumNArgs(1),
		Long: long + `

The log is on the node, in --audit-dir of its agent; a copy serves too. Times are UTC.

Ends with 0 when the log tells something, 1 when it does not, and 2 when it could not be read.`,
	}
	output := outputFlag(c)
	c.Flags().StringVar(&dir, "audit-dir", "/var/lib/plimsoll/audit", "folder of the audit log")
	c.Flags().StringVar(&when, "at", "", "time asked about: 2026-03-02T10:02:00Z, or \"2026-03-02 10:02\"; now by default")
	c.Flags().DurationVar(&q.within, "within", 5*time.Minute, "how far around that time to look")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if err := checkOutput(*output); err != nil {
			return err
		}
		if len(args) == 1 {
			if q.pod = args[0]; strings.Count(q.pod, "/") != 1 {
				return fmt.Errorf("pod %q: want NAMESPACE/NAME", q.pod)
			}
		}
		if q.at, err = parseMoment(when, time.Now()); err != nil {
			return err
		}
		if q.within <= 0 {
			return fmt.Errorf("--within %s: must be above 0", q.within)
		}
		answer, err := askLog(dir, q)
		if err != nil {
			return fmt.Errorf("%w%s", err, remedy(err))
		}
		if *output == "json" {
			err = printJSON(cmd.OutOrStdout(), answer)
		} else {
			showLog(cmd.OutOrStdout(), q, answer)
		}
		if err == nil && len(answer.Around)+len(answer.Before) == 0 {
			return errFound
		}
		return err
	}
	return c
}

func parseMoment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return now.UTC(), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", time.DateTime} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return now, fmt.Errorf("--at %q: want a time like 2026-03-02T10:02:00Z or \"2026-03-02 10:02\" (UTC)", text)
}

// askLog looks the answer up.
func askLog(dir string, q logQuestion) (logAnswer, error) {
	report, err := audit.Verify(dir)
	if err != nil {
		return logAnswer{}, err
	}
	answer := logAnswer{Intact: len(report.Problems) == 0, Around: []audit.Record{}}
	before := map[string]audit.Record{}
	from, to := q.at.Add(-q.within), q.at.Add(q.within)
	_, err = audit.Read(dir, func(r audit.Record) bool {
		if r.Kind != q.kind || !q.about(r) {
			return true
		}
		switch {
		case r.Time.Before(from):
			if r.Error == "" { // a refused write changed nothing
				before[r.Group+" "+r.Knob] = r
			}
		case !r.Time.After(to):
			answer.Around = append(answer.Around, r)
		}
		return true
	})
	if err != nil {
		return answer, err
	}
	if q.kind == audit.KindWrite {
		for _, key := range slices.Sorted(maps.Keys(before)) {
			answer.Before = append(answer.Before, before[key])
		}
	}
	return answer, nil
}

// about reports whether a record is about the pod: of its own groups, or of a group that is of no single pod, as
// the batch branch and the tiers are.
func (q logQuestion) about(r audit.Record) bool {
	if q.pod == "" || strings.HasPrefix(r.Pod, q.pod+" (") {
		return true
	}
	return r.Kind == audit.KindWrite && r.Pod == ""
}

func showLog(out io.Writer, q logQuestion, a logAnswer) {
	if !a.Intact {
		fmt.Fprintln(out, paint(out, red, "the log is not as it was written:"), "plimsoll audit verify tells where")
	}
	what := "all groups"
	if q.pod != "" {
		what = q.pod
	}
	fmt.Fprintf(out, "%s, %s, %s around it\n", what, q.at.Format(time.DateTime), q.within)
	if len(a.Before)+len(a.Around) == 0 {
		fmt.Fprintln(out, "The log tells of nothing then: nothing was changed, or another node's agent did it.")
	}
	if len(a.Before) > 0 {
		fmt.Fprintln(out, "\nin force from before:")
	}
	for _, r := range a.Before {
		showRecord(out, r)
	}
	if len(a.Around) > 0 && len(a.Before) > 0 {
		fmt.Fprintln(out, "\nat the time:")
	}
	for _, r := range a.Around {
		showRecord(out, r)
	}
}

// showRecord is the chain from what was read to what was written.
func showRecord(out io.Writer, r audit.Record) {
	of := r.Pod
	if of == "" {
		of = "no single pod"
	}
	fmt.Fprintf(out, "\n%s  node %s  %s  (%s)  record %d\n", r.Time.UTC().Format("2006-01-02 15:04:05.000"), r.Node, r.Group, of, r.Sequence)
	var read []string
	for _, name := range slices.Sorted(maps.Keys(r.Inputs)) {
		read = append(read, name+" "+r.Inputs[name])
	}
	if len(read) > 0 {
		fmt.Fprintln(out, "  read:   ", strings.Join(read, ", "))
	}
	fmt.Fprintf(out, "  decided: %s: %s\n", r.Strategy, r.Why)
	text := func(v *string) string {
		if v == nil {
			return "(not read)"
		}
		return *v
	}
	switch {
	case r.Kind == audit.KindEviction && r.Error == "":
		fmt.Fprintln(out, "  done:    evicted")
	case r.Kind == audit.KindEviction:
		fmt.Fprintln(out, "  done:    not evicted:", r.Error)
	case r.Error != "":
		fmt.Fprintf(out, "  wrote:   %s %s to %s, refused: %s\n", r.Knob, text(r.Old), text(r.New), r.Error)
	default:
		fmt.Fprintf(out, "  wrote:   %s %s to %s, and the kernel has %s\n", r.Knob, text(r.Old), text(r.New), text(r.ReadBack))
	}
}

// errNoNode means that a node publishes nothing.
var errNoNode = errors.New("it publishes no NodeUtilization")
