// Command samplehistory makes up the history of a fleet, to look at reports and to measure them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/plimsoll/plimsoll/pkg/history/sample"
)

func main() {
	o := sample.Options{Start: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Step: 5 * time.Minute}
	flag.IntVar(&o.Nodes, "nodes", 40, "how many nodes")
	flag.IntVar(&o.Workloads, "workloads", 60, "how many workloads")
	flag.IntVar(&o.Days, "days", 7, "how many days from 2026-03-01 on")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: samplehistory [-nodes N] [-workloads N] [-days N] FOLDER")
		os.Exit(2)
	}
	if err := sample.Write(context.Background(), flag.Arg(0), o); err != nil {
		fmt.Fprintln(os.Stderr, "samplehistory:", err)
		os.Exit(1)
	}
}
