package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	htmlName = "demo-report.html"
	jsonName = "demo-report.json"
)

// assets are the page's template and uPlot, a small chart library, so that the page needs no network.
//
//go:embed assets/report.html.tmpl assets/uplot.iife.min.js assets/uplot.min.css
var assets embed.FS

// writeReports writes both files.
func writeReports(dir string, r *report) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, jsonName), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	page, err := os.Create(filepath.Join(dir, htmlName))
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := writeHTML(page, r); err != nil {
		_ = page.Close() // what failed first is what matters
		return err
	}
	if err := page.Close(); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// curve is an arm's latency distribution: the latency that the given share of requests exceeds.
type curve struct {
	Title string `json:"title"`
	// OneIn is 1/(1-quantile): 100 for p99.
	OneIn     []float64 `json:"one_in"`
	LatencyMs []float64 `json:"latency_ms"`
}

// band is an arm's timeline, its rounds one after the other.
type band struct {
	Title   string    `json:"title"`
	Seconds []float64 `json:"seconds"`
	Online  []float64 `json:"online"`
	Batch   []float64 `json:"batch"`
	Other   []float64 `json:"other"`
	// Rounds are where each round after the first starts.
	Rounds []float64 `json:"rounds"`
}

// page is what the template shows.
type page struct {
	Report  *report
	Setup   string
	Columns []string
	Rows    []pageRow
	Charts  charts
	UPlotJS template.JS
	UPlot   template.CSS
}

type pageRow struct {
	Title string
	Cells []pageCell
}

type pageCell struct{ Median, Range string }

// charts is the data of the charts, which the page's script reads.
type charts struct {
	Curves []curve `json:"curves"`
	Bands  []band  `json:"bands"`
	Cores  int     `json:"cores"`
}

func writeHTML(out io.Writer, r *report) error {
	script, err := assets.ReadFile("assets/uplot.iife.min.js")
	if err != nil {
		return fmt.Errorf("reading uPlot: %w", err)
	}
	sheet, err := assets.ReadFile("assets/uplot.min.css")
	if err != nil {
		return fmt.Errorf("reading uPlot's style sheet: %w", err)
	}
	shown := page{
		Report: r, Setup: setupLine(r.setup), Charts: charts{Cores: r.Cores},
		UPlotJS: template.JS(script), UPlot: template.CSS(sheet),
	}
	for _, c := range columns() {
		shown.Columns = append(shown.Columns, c.title)
	}
	for _, arm := range append(r.Arms, r.BatchAlone) {
		row := pageRow{Title: arm.Name.title()}
		for _, c := range columns() {
			median, ends := texts(arm, c)
			row.Cells = append(row.Cells, pageCell{median, ends})
		}
		shown.Rows = append(shown.Rows, row)
	}
	for _, arm := range r.Arms {
		one, err := newCurve(arm)
		if err != nil {
			return err
		}
		shown.Charts.Curves = append(shown.Charts.Curves, one)
		shown.Charts.Bands = append(shown.Charts.Bands, newBand(arm.Name, r.Windows))
	}
	parsed, err := template.New("report.html.tmpl").ParseFS(assets, "assets/report.html.tmpl")
	if err != nil {
		return fmt.Errorf("parsing the report's template: %w", err)
	}
	if err := parsed.Execute(out, shown); err != nil {
		return fmt.Errorf("writing the report's page: %w", err)
	}
	return nil
}

// newCurve reads the distribution at points that are evenly spread on the logarithmic axis, up to the
// last quantile that has a request of its own.
func newCurve(arm armReport) (curve, error) {
	result := curve{Title: arm.Name.title(), OneIn: []float64{}, LatencyMs: []float64{}}
	if arm.HistogramHDR == "" {
		return result, nil
	}
	histogram, err := hdrhistogram.Decode([]byte(arm.HistogramHDR))
	if err != nil {
		return curve{}, fmt.Errorf("decoding the histogram of %s: %w", arm.Name, err)
	}
	// Ten steps for each factor of two.
	const step = 1.0717734625362931
	for oneIn := 1.0; oneIn <= float64(histogram.TotalCount()); oneIn *= step {
		result.OneIn = append(result.OneIn, oneIn)
		result.LatencyMs = append(result.LatencyMs, float64(histogram.ValueAtPercentile(100*(1-1/oneIn)))/1000)
	}
	return result, nil
}

func newBand(arm armName, windows []window) band {
	result := band{Title: arm.title(), Seconds: []float64{}, Online: []float64{}, Batch: []float64{}, Other: []float64{}, Rounds: []float64{}}
	var offset float64
	for _, w := range windows {
		if w.Arm != arm {
			continue
		}
		if offset > 0 {
			result.Rounds = append(result.Rounds, offset)
		}
		for _, p := range w.Timeline {
			result.Seconds = append(result.Seconds, offset+p.Seconds)
			result.Online = append(result.Online, p.OnlineCores)
			result.Batch = append(result.Batch, p.BatchCores)
			result.Other = append(result.Other, p.OtherCores)
		}
		offset += w.Seconds
	}
	return result
}
