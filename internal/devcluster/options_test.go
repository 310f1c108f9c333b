package devcluster

import (
	"strings"
	"testing"

	"windlass.dev/internal/devcluster/agent"
)

// TestOptions: what makes no sense is said, and what does says whether programs run.
func TestOptions(t *testing.T) {
	t.Parallel()
	for title, one := range map[string]struct {
		options Options
		// problem is a part of the error; empty for none.
		problem         string
		run, anyProgram bool
	}{
		"simulated nodes":            {options: Options{Nodes: 1}},
		"process nodes":              {options: Options{ProcessNodes: 1}, anyProgram: true},
		"no nodes":                   {problem: "no nodes"},
		"fewer than no nodes":        {options: Options{Nodes: -1, ProcessNodes: 2}, problem: "less than 0"},
		"fewer than no processes":    {options: Options{Nodes: 2, ProcessNodes: -1}, problem: "less than 0"},
		"instances":                  {options: Options{FakeAWS: true}},
		"instances beside processes": {options: Options{ProcessNodes: 1, FakeAWS: true}, run: true, anyProgram: true},
		"simulated instances":        {options: Options{ProcessNodes: 1, FakeAWS: true, FakeAWSNodes: agent.Simulated}, anyProgram: true},
		"instances run alone":        {options: Options{FakeAWS: true, FakeAWSNodes: agent.Process}, run: true, anyProgram: true},
		"instances of no cloud":      {options: Options{ProcessNodes: 1, FakeAWSNodes: agent.Process}, problem: "no fake AWS"},
		"instances of no kind":       {options: Options{FakeAWS: true, FakeAWSNodes: "real"}, problem: `"real"`},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			err := one.options.Check()
			if (err == nil) != (one.problem == "") || err != nil && !strings.Contains(err.Error(), one.problem) {
				t.Fatalf("the error is %v", err)
			}
			if err != nil {
				return
			}
			if run, anyProgram := one.options.instancesRun(), one.options.runsProcesses(); run != one.run || anyProgram != one.anyProgram {
				t.Errorf("instances run programs: %v; anything does: %v", run, anyProgram)
			}
		})
	}
}
