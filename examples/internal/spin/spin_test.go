package spin

import "testing"

func TestWorkDependsOnEveryIteration(t *testing.T) {
	seen := make(map[uint64]int64)
	for iterations := range int64(1000) {
		state := Work(iterations)
		if earlier, ok := seen[state]; ok {
			t.Fatalf("Work(%d) and Work(%d) end in the same state %d", earlier, iterations, state)
		}
		seen[state] = iterations
	}
}

func TestCalibrationIsPlausible(t *testing.T) {
	// Three dependent pairs of operations a turn: any core of the last 20 years does between 1 and
	// 10,000 million turns a second.
	got := IterationsPerMillisecond()
	if got < 1_000 || got > 10_000_000 {
		t.Errorf("IterationsPerMillisecond() = %d, want between 1,000 and 10,000,000", got)
	}
}
