package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"os"
	"time"

	"github.com/plimsoll/plimsoll/pkg/planner"
)

// The page is one file that needs no network, like the back-test's.
var (
	//go:embed page/report.html
	reportPage string
	//go:embed page/report.js
	reportScript string
	//go:embed page/report.css
	reportStyle string
)

// writeReportPage writes the page to a file, which is replaced.
func writeReportPage(file string, report planner.Report) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	defer func() {
		if closing := f.Close(); err == nil && closing != nil {
			err = fmt.Errorf("writing the page %s: %w", file, closing)
		}
	}()
	if err := renderReport(f, report); err != nil {
		return fmt.Errorf("writing the page %s: %w", file, err)
	}
	return nil
}

// table is a list of lines on the page.
type table struct {
	ID, Title, Head, Shares string
	Lines                   []planner.Line
}

func renderReport(out io.Writer, r planner.Report) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"percent": percent, "amount": amount, "ratio": ratio, "ofNode": ofNode,
		"time":     func(at time.Time) string { return at.Format("2006-01-02 15:04") },
		"unused":   func(b planner.Balance) float64 { return b.Capacity - b.Used },
		"amountOf": amountOf, "count": count,
		"cores": func(v float64) string { return fmt.Sprintf("%.2f", v) },
		"hours": func(v float64) string { return fmt.Sprintf("%.0f", v) },
	}).Parse(reportPage)
	if err != nil {
		return fmt.Errorf("the page's template: %w", err)
	}
	from, to := periodOf(r)
	return t.Execute(out, map[string]any{
		"Report": r, "From": from, "To": to, "Step": (time.Duration(r.Options.StepSeconds) * time.Second).String(),
		"Tables": []table{
			{"pools", "Pools", "Pool", "", r.Pools}, {"nodes", "Nodes", "Node", "share", r.Nodes},
			{"namespaces", "Namespaces", "Namespace", "", r.Namespaces}, {"workloads", "Workloads", "Workload", "cores", r.Workloads},
		},
		"Data":       map[string]any{"series": r.Series, "hours": r.Hours},
		"PlotScript": template.JS(plotScript), "PlotStyle": template.CSS(plotStyle), //nolint:gosec // our own files
		"Script": template.JS(reportScript), "Style": template.CSS(reportStyle), //nolint:gosec // our own files
	})
}
