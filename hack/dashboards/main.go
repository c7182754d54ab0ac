// Command dashboards writes Plimsoll's Grafana dashboards. They are written by a program because Grafana's own format
// is too long to review: what is said here is what they show. They hold to Grafana's schema: UnmarshalJSONStrict and
// Validate of package dashboard in github.com/grafana/grafana-foundation-sdk/go v0.0.22 found nothing. All queries are on the series of rules.yaml.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// panel is a chart: its title, unit and lines.
type panel struct {
	title, unit, help string
	lines             []line
}

type line struct{ legend, query string }

type dashboard struct {
	uid, title string
	// variables are labels to choose by, each with the series that has it.
	variables [][2]string
	panels    []panel
}

func dashboards() []dashboard {
	sum := func(series, rest string) string { return fmt.Sprintf("sum(%s{resource=%q%s})", series, "cpu", rest) }
	const node, load = `,node="$node"`, `,namespace="$namespace",workload="$workload"`
	return []dashboard{
		{uid: "plimsoll-fleet", title: "Plimsoll: fleet", panels: []panel{
			{"CPU of the fleet", "none", "Sums in cores over the nodes that were measured.", []line{
				{"capacity", sum("plimsoll:node_capacity", "")}, {"requested", sum("plimsoll:node_requested", "")}, {"used", sum("plimsoll:node_used", `,class="All"`)},
				{"used by batch", sum("plimsoll:node_used", `,class="Batch"`)}, {"lent", sum("plimsoll:node_lendable", `,kind="lent"`)}, {"lendable", sum("plimsoll:node_lendable", `,kind="published"`)},
			}},
			{"CPU used, by pool", "percentunit", "Share of the capacity.", []line{{"{{pool}}",
				`sum by (pool) (plimsoll:node_used{resource="cpu",class="All"} * on (node) group_left (pool) (plimsoll:node_capacity{resource="cpu"} > bool 0)) / sum by (pool) (plimsoll:node_capacity{resource="cpu"})`}}},
			{"Nodes whose services wait for CPU a tenth of the time", "none", "", []line{{"nodes", `count(plimsoll:node_pressure_ratio{resource="cpu"} >= 0.1) or vector(0)`}}},
			{"Services wait most on", "percentunit", "", []line{{"{{node}}", `topk(10, plimsoll:node_pressure_ratio{resource="cpu"})`}}},
			{"Harm, in minutes an hour", "none", "How long their own CPU limits stopped services, summed over pods, and how long its quota stopped batch, summed over nodes.", []line{
				{"services throttled", `sum(increase(plimsoll:node_throttled_seconds_total{class="LatencySensitive"}[1h])) / 60`},
				{"batch held back", `sum(increase(plimsoll:node_throttled_seconds_total{class="Batch"}[1h])) / 60`},
			}},
			{"Batch pods evicted in an hour", "none", "", []line{{"evicted", `sum(increase(plimsoll:node_evictions_total[1h]))`}}},
			{"Memory of the fleet", "bytes", "", []line{
				{"capacity", `sum(plimsoll:node_capacity{resource="memory"})`}, {"requested", `sum(plimsoll:node_requested{resource="memory"})`},
				{"used", `sum(plimsoll:node_used{resource="memory",class="All"})`}, {"lent", `sum(plimsoll:node_lendable{resource="memory",kind="lent"})`},
			}},
		}},
		{uid: "plimsoll-node", title: "Plimsoll: node", variables: [][2]string{{"node", "plimsoll:node_capacity"}}, panels: []panel{
			{"CPU", "none", "In cores.", []line{
				{"capacity", `plimsoll:node_capacity{resource="cpu"` + node + `}`}, {"requested", `plimsoll:node_requested{resource="cpu"` + node + `}`}, {"{{class}}", `plimsoll:node_used{resource="cpu"` + node + `}`},
			}},
			{"Lending", "none", "Computed is the arithmetic, published what the Node offers, lent what batch pods asked for; in cores.", []line{{"{{kind}}", `plimsoll:node_lendable{resource="cpu"` + node + `}`}}},
			{"Services wait for CPU", "percentunit", "Share of the time.", []line{{"waiting", `plimsoll:node_pressure_ratio{resource="cpu"` + node + `}`}}},
			{"Stopped by CPU limits, in minutes an hour", "none", "LatencySensitive: by their own limits, summed over pods. Batch: by the quota of all batch.", []line{{"{{class}}", `increase(plimsoll:node_throttled_seconds_total{node="$node"}[1h]) / 60`}}},
			{"Batch pods evicted in an hour", "none", "", []line{{"evicted", `increase(plimsoll:node_evictions_total{node="$node"}[1h])`}}},
			{"Memory", "bytes", "", []line{{"capacity", `plimsoll:node_capacity{resource="memory"` + node + `}`}, {"{{class}}", `plimsoll:node_used{resource="memory"` + node + `}`}}},
		}},
		{uid: "plimsoll-service", title: "Plimsoll: service", variables: [][2]string{{"namespace", "plimsoll:workload_used"}, {"workload", "plimsoll:workload_used"}}, panels: []panel{
			{"CPU", "none", "In cores, over all pods.", []line{{"requested", `plimsoll:workload_requested{resource="cpu"` + load + `}`}, {"used", `plimsoll:workload_used{resource="cpu"` + load + `}`}}},
			{"Memory", "bytes", "Over all pods.", []line{{"requested", `plimsoll:workload_requested{resource="memory"` + load + `}`}, {"used", `plimsoll:workload_used{resource="memory"` + load + `}`}}},
			{"Use of what it asks for", "percentunit", "Share of the CPU request.", []line{{"used", `plimsoll:workload_used{resource="cpu"` + load + `} / ignoring (__name__) plimsoll:workload_requested{resource="cpu"` + load + `}`}}},
		}},
	}
}

// grafana is a dashboard in Grafana's format.
func (d dashboard) grafana() map[string]any {
	source := map[string]any{"type": "prometheus", "uid": "${datasource}"}
	variables := []any{map[string]any{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}}
	for _, v := range d.variables {
		variables = append(variables, map[string]any{
			"name": v[0], "type": "query", "datasource": source, "refresh": 2, "sort": 1,
			"query": map[string]any{"query": fmt.Sprintf("label_values(%s, %s)", v[1], v[0]), "refId": v[0]},
		})
	}
	var panels []any
	for i, p := range d.panels {
		var targets []any
		for k, l := range p.lines {
			targets = append(targets, map[string]any{"refId": string(rune('A' + k)), "expr": l.query, "legendFormat": l.legend, "datasource": source})
		}
		panels = append(panels, map[string]any{
			"id": i + 1, "type": "timeseries", "title": p.title, "description": p.help, "datasource": source, "targets": targets,
			"gridPos":     map[string]any{"x": 12 * (i % 2), "y": 9 * (i / 2), "w": 12, "h": 9},
			"fieldConfig": map[string]any{"defaults": map[string]any{"unit": p.unit, "min": 0, "custom": map[string]any{"spanNulls": false}}, "overrides": []any{}},
			"options": map[string]any{
				"tooltip": map[string]any{"mode": "multi", "sort": "none"},
				"legend":  map[string]any{"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []any{}},
			},
		})
	}
	return map[string]any{
		"uid": d.uid, "title": d.title, "tags": []string{"plimsoll"}, "schemaVersion": 39, "version": 1, "timezone": "utc", "editable": true,
		"time": map[string]any{"from": "now-24h", "to": "now"}, "refresh": "5m", "templating": map[string]any{"list": variables}, "panels": panels,
		"annotations": map[string]any{"list": []any{}},
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dashboards FOLDER")
		os.Exit(2)
	}
	for _, d := range dashboards() {
		data, err := json.MarshalIndent(d.grafana(), "", "  ")
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], d.uid+".json"), append(data, '\n'), 0o644) //nolint:gosec // for everybody
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "dashboards:", err)
			os.Exit(1)
		}
	}
}
