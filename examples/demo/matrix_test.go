package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestAMatrixMeasuresEveryCellOnceARoundAndServicesOneAfterTheOther(t *testing.T) {
	services, kinds := loads()[:2], batchKinds()[:3]
	slots := matrixPlan(services, kinds, 2, 1)
	perService := 1 + len(kinds)*len(matrixArms())
	if want := 2 * (len(services)*perService + 1); len(slots) != want {
		t.Fatalf("%d windows, want %d", len(slots), want)
	}
	names := map[string]int{}
	for _, s := range slots {
		names[s.podName()]++
	}
	for name, times := range names {
		if times != 1 {
			t.Errorf("%d pods are called %s", times, name)
		}
	}
	for at := 0; at < len(services)*perService; at += perService {
		block := slots[at : at+perService]
		for _, s := range block {
			if s.load != block[0].load || s.round != 1 {
				t.Errorf("%s in the block of %s, round %d", s.load.name(), block[0].load.name(), s.round)
			}
		}
		if n := len(slices.DeleteFunc(slices.Clone(block), func(s slot) bool { return s.arm != alone })); n != 1 {
			t.Errorf("alone is measured %d times a service and round, want once", n)
		}
	}
	if slices.Equal(slots[:perService], slots[len(slots)/2:len(slots)/2+perService]) {
		t.Error("two rounds have the same order")
	}
	if !slices.Equal(slots, matrixPlan(services, kinds, 2, 1)) {
		t.Error("the same seed gives another plan")
	}
}

func TestServicesAndKindsAreChosenByName(t *testing.T) {
	o := options{services: "redis-1000,payments-200", batchKinds: "fork"}
	services, kinds, err := o.cells()
	if err != nil || len(services) != 2 || services[0].service != redisService || services[1].rate != 200 || len(kinds) != 1 || kinds[0].mode != "fork" {
		t.Errorf("cells %v, %v, %v", services, kinds, err)
	}
	for flag, o := range map[string]options{"--services": {services: "mysql", batchKinds: "fork"}, "--batch-kinds": {services: "redis-1000", batchKinds: "spin-5"}} {
		if _, _, err := o.cells(); err == nil || !strings.Contains(err.Error(), flag) || !strings.Contains(err.Error(), "not one of") {
			t.Errorf("%s: error %v does not name it and what there is", flag, err)
		}
	}
}

func TestTheReferenceSuppressionLeavesTheLineLessWhatOthersUse(t *testing.T) {
	for _, row := range []struct{ others, want float64 }{{0, 1.3}, {0.5, 0.8}, {1.25, 0.1}, {2, 0.1}} {
		if got := suppressedCores(2, row.others); got < row.want-1e-9 || got > row.want+1e-9 {
			t.Errorf("beside %g cores of 2: %g, want %g", row.others, got, row.want)
		}
	}
}

func TestAMatrixReportComparesEachCellWithItsOwnServiceAlone(t *testing.T) {
	made := func(l load, kind string, arm armName, round int, p99, batchCores float64) window {
		return window{
			Service: l.service, RatePerSecond: l.rate, Batch: kind, Arm: arm, Round: round, Seconds: 10, P99Ms: p99, P999Ms: 2 * p99, AtServiceP99Ms: p99 + 1,
			BatchCPUSeconds: 10 * batchCores, NodeCPUPercent: 50 * (0.5 + batchCores), // half a core is others'
		}
	}
	slow, fast := loads()[0], loads()[3]
	var windows []window
	for round := 1; round <= 3; round++ {
		windows = append(windows, made(slow, "none", alone, round, 10, 0), made(fast, "none", alone, round, 1, 0))
		for _, kind := range []string{"spin-4", "cache"} {
			windows = append(windows,
				made(slow, kind, plimsoll, round, 11, 1.5), made(fast, kind, plimsoll, round, 1.3, 1.2),
				made(slow, kind, agentStopped, round, 12, 1.5), made(fast, kind, agentStopped, round, 1.4, 1.5))
		}
		windows = append(windows, made(slow, "spin-4", onlineAbsent, round, 0, 1.5))
	}
	r := newMatrixReport(setup{Cores: 2, Rounds: 3, RoundSeconds: 10}, windows)
	met := map[string]bool{}
	for _, target := range r.Targets {
		met[target.Text] = target.Met
	}
	for text, want := range map[string]bool{
		"p99 of alone, median of all cells, at most 1.10":               false, // 1.1 and 1.3 twice each: 1.2
		"p99 of alone, worst cell, at most 1.25":                        false,
		"p99.9 of alone, median of all cells, at most 1.50":             true,
		"p99 of alone with the agent stopped, worst cell, at most 1.50": true,
		"batch's share of what is left, worst cell, at least 0.90":      false, // 1.2 of 1.5 cores
		"batch's share with nobody to protect at least 0.97":            true,
	} {
		if got, known := met[text]; got != want || !known {
			t.Errorf("%s: met %t (known %t), want %t", text, got, known, want)
		}
	}
	var out bytes.Buffer
	printMatrix(&out, r, style{})
	for _, want := range []string{"payments-200  spin-4  Plimsoll", "11.00  [11.00-11.00]      1.10", "12.00      1.09", "redis-1000    cache   Plimsoll", "80 %", "missed  p99 of alone, worst cell"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}
