package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"os"
)

// The page is one file that needs no network: the plots' library (uPlot 1.6.32, MIT, 51 KB) is within it.
var (
	//go:embed page/backtest.html
	backtestPage string
	//go:embed page/uPlot.iife.min.js
	plotScript string
	//go:embed page/uPlot.min.css
	plotStyle string
)

// writePage writes the page to a file, which is replaced.
func writePage(file string, report backtestReport) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	defer func() {
		if closing := f.Close(); err == nil && closing != nil {
			err = fmt.Errorf("writing the page %s: %w", file, closing)
		}
	}()
	if err := renderPage(f, report); err != nil {
		return fmt.Errorf("writing the page %s: %w", file, err)
	}
	return nil
}

func renderPage(out io.Writer, report backtestReport) error {
	t, err := template.New("backtest").Funcs(template.FuncMap{
		"minutes":  minutes,
		"percent1": func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) },
		"percent2": func(v float64) string { return fmt.Sprintf("%.2f %%", 100*v) },
	}).Parse(backtestPage)
	if err != nil {
		return fmt.Errorf("the page's template: %w", err)
	}
	return t.Execute(out, map[string]any{
		"Report": report, "PlotScript": template.JS(plotScript), "PlotStyle": template.CSS(plotStyle),
	})
}
