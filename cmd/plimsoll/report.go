package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/history"
	"github.com/plimsoll/plimsoll/pkg/planner"
)

// reportFlags are what a report was asked for.
type reportFlags struct {
	dir, prometheus, tokenFile string
	from, to                   string
	step                       time.Duration
	selection                  history.Selection
	prices, html, output       string
	options                    planner.ReportOptions
}

func reportCommand() *cobra.Command {
	var f reportFlags
	c := &cobra.Command{
		Use:   "report --history FOLDER | --prometheus URL",
		Short: "Tell what was requested, used and lent in a period, what could be, and at which risk",
		Long: `Report on a period: what was requested against used, lent, and could have been lent, by pool, node, namespace and
workload; use by hour of the day (UTC); services that ask for more than they were ever seen to need; minutes under pressure
beside the gain; the nodes that the rest could do without at --risk; the worst step; and the cost by a file of prices.

The history comes from a folder that plimsoll record fills, or from a Prometheus that records the same series. What was not
measured is in no sum, and the report says so. The same inputs give the same bytes: it names the SHA-256 of its inputs
and of its options.

A file of prices is YAML: currency, perCoreHour, perGiBHour.

Ends with 0, with 1 when the history has no node in the period, and with 2 when it could not be read.`,
		Args: cobra.NoArgs,
	}
	flags := c.Flags()
	flags.StringVar(&f.dir, "history", "", "folder that plimsoll record fills")
	flags.StringVar(&f.prometheus, "prometheus", "", "URL of a Prometheus that records the series of manifests/monitoring")
	flags.StringVar(&f.tokenFile, "token-file", "", "file with a bearer token for Prometheus")
	flags.StringVar(&f.from, "from", "", "begin of the period: 2026-03-01, or 2026-03-01T10:00:00Z")
	flags.StringVar(&f.to, "to", "", "end of the period, in the same forms; now, at the last full step, by default")
	flags.DurationVar(&f.step, "step", 5*time.Minute, "length of a step, 1s to 1h; not shorter than the time between two readings")
	flags.StringVar(&f.selection.Nodes, "nodes", "", "only nodes whose whole name matches this regular expression")
	flags.StringVar(&f.selection.Pool, "pool", "", "only nodes of this pool")
	flags.StringVar(&f.prices, "prices", "", "file of prices")
	flags.StringVar(&f.html, "html", "", "also write a page to this file")
	flags.StringVarP(&f.output, "output", "o", "text", "text, json or csv")
	flags.Float64Var(&f.options.SafeLine, "safe-line", 0.8, "share of its capacity that a node may be loaded to, above 0 to 1")
	flags.Float64Var(&f.options.Risk, "risk", 0.001, "share of the steps in which the nodes that are left may need more than that, 0 to 0.5")
	flags.Float64Var(&f.options.PressureRatio, "pressure", 0.1, "share of time waiting for CPU from which on a step is one under pressure, above 0 to 1")
	flags.Float64Var(&f.options.Headroom, "headroom", 0.2, "what a request may be above the 99.9th percentile of use, 0 to 10")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.complete(time.Now()); err != nil {
			return err
		}
		report, err := f.load(cmd.Context())
		if err != nil {
			return err
		}
		if f.html != "" {
			if err := writeReportPage(f.html, report); err != nil {
				return err
			}
		}
		if err := showReport(cmd.OutOrStdout(), report, f.output); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		if len(report.Nodes) == 0 {
			return errFound
		}
		return nil
	}
	return c
}

// complete checks the flags, and works out the period.
func (f *reportFlags) complete(now time.Time) error {
	var errs []error
	within := func(name string, v, low, high float64, open bool) {
		if !(v >= low && v <= high) || open && v == low { // NaN is refused too
			errs = append(errs, fmt.Errorf("--%s %v: must be from %v to %v", name, v, low, high))
		}
	}
	within("safe-line", f.options.SafeLine, 0, 1, true)
	within("risk", f.options.Risk, 0, 0.5, false)
	within("pressure", f.options.PressureRatio, 0, 1, true)
	within("headroom", f.options.Headroom, 0, 10, false)
	if (f.dir == "") == (f.prometheus == "") {
		errs = append(errs, errors.New("give one of --history (a folder that plimsoll record fills) and --prometheus (a URL)"))
	}
	if !slices.Contains([]string{"text", "json", "csv"}, f.output) {
		errs = append(errs, fmt.Errorf("--output %q: want text, json or csv", f.output))
	}
	if f.step < time.Second || f.step > time.Hour || f.step%time.Second != 0 {
		errs = append(errs, fmt.Errorf("--step %s: must be whole seconds from 1s to 1h", f.step))
	}
	from, err := parseTime("from", f.from, time.Time{})
	to, err2 := parseTime("to", f.to, now)
	if errs = append(errs, err, err2); errors.Join(errs...) != nil {
		return errors.Join(errs...)
	}
	f.options.Start, to = from.Truncate(f.step), to.Truncate(f.step)
	f.options.StepSeconds = int(f.step.Seconds())
	f.options.Steps = int(to.Sub(f.options.Start) / f.step)
	if f.options.Steps < 1 || f.options.Steps > 200_000 {
		return fmt.Errorf("--from %s --to %s: the period has %d steps of %s: must be 1 to 200000", f.from, f.to, f.options.Steps, f.step)
	}
	return f.readPrices()
}

func parseTime(flag, text string, missing time.Time) (time.Time, error) {
	if text == "" {
		if missing.IsZero() {
			return missing, fmt.Errorf("--%s: none given; want a time like 2026-03-01 or 2026-03-01T10:00:00Z", flag)
		}
		return missing.UTC(), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return missing, fmt.Errorf("--%s %q: want a time like 2026-03-01 or 2026-03-01T10:00:00Z", flag, text)
}

func (f *reportFlags) readPrices() error {
	if f.prices == "" {
		return nil
	}
	data, err := os.ReadFile(f.prices)
	if err != nil {
		return fmt.Errorf("--prices: %w", err)
	}
	p := &planner.Prices{}
	if err := v1alpha1.DecodeStrict(data, p); err != nil {
		return fmt.Errorf("%s: %w", f.prices, err)
	}
	if p.Currency == "" || !(p.PerCoreHour >= 0) || !(p.PerGiBHour >= 0) {
		return fmt.Errorf("%s: currency must be set, perCoreHour and perGiBHour must be 0 or more", f.prices)
	}
	f.options.Prices = p
	return nil
}

func (f *reportFlags) source() (history.Source, error) {
	if f.dir != "" {
		return history.OpenEmbedded(f.dir)
	}
	client := &http.Client{Timeout: 10 * time.Minute}
	if f.tokenFile != "" {
		token, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		client.Transport = bearer(token)
	}
	p, err := history.NewPrometheus(f.prometheus, client)
	if err != nil {
		return nil, fmt.Errorf("--prometheus: %w", err)
	}
	return p, nil
}

// bearer adds a token to each request.
type bearer []byte

// RoundTrip is http.RoundTripper's.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(b)))
	return http.DefaultTransport.RoundTrip(r)
}

func (f *reportFlags) load(ctx context.Context) (r planner.Report, err error) {
	source, err := f.source()
	if err != nil {
		return r, err
	}
	defer func() {
		if closing := source.Close(); err == nil && closing != nil {
			err = fmt.Errorf("closing the history: %w", closing)
		}
	}()
	if r, err = history.Load(ctx, source, f.selection, f.options); err != nil {
		return r, err
	}
	options, err := json.Marshal(struct {
		planner.ReportOptions
		history.Selection
	}{f.options, f.selection})
	if err != nil {
		return r, err
	}
	sum := sha256.Sum256(options)
	r.OptionsHash, r.Version = hex.EncodeToString(sum[:]), version()
	return r, nil
}
