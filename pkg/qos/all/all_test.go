package all

import (
	"strings"
	"testing"
)

func TestBuildNamesEveryFault(t *testing.T) {
	_, err := Build([]Want{{Name: "batchidel"}, {Name: "batchidle", Args: []byte(`{"x":1}`)}})
	if err == nil {
		t.Fatal("an unknown strategy and a bad argument: no error")
	}
	for _, want := range []string{"strategies[0].name", `"batchidel"`, `"batchidle"`, "strategies[1].args", `"x"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
}

func TestEveryStrategyCanRunBesideTheOthers(t *testing.T) {
	var wants []Want
	for _, f := range Factories() {
		wants = append(wants, Want{Name: f.Name})
	}
	got, err := Build(wants)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(wants) {
		t.Errorf("built %d of %d strategies", len(got), len(wants))
	}
}
