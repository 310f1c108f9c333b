package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
)

func parsed(t *testing.T, line []string) *runFlags {
	t.Helper()
	r := &runFlags{}
	cmd := &cobra.Command{}
	r.addFlags(cmd)
	if err := cmd.ParseFlags(line); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFlagsOfARun(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		line []string
		want *v1alpha1.Strategy
		told string // What somebody is told, in part; nothing if empty.
		err  string
	}{
		"none":        {},
		"surge":       {line: []string{"--max-surge", "30%", "--max-unavailable", "1"}, want: &v1alpha1.Strategy{MaxSurge: new(intstr.FromString("30%")), MaxUnavailable: new(intstr.FromInt32(1))}},
		"no number":   {line: []string{"--max-surge", "many"}, err: "want a number such as 3"},
		"canary":      {line: []string{"--canary", "2", "--canary-bake", "10m"}, want: &v1alpha1.Strategy{Canary: &v1alpha1.Canary{Nodes: 2, BakeSeconds: new(int32(600))}}},
		"only a bake": {line: []string{"--canary-bake", "10m"}, err: "--canary"},
		"window": {line: []string{"--window", "0 22 * * 1,3,5 for 6h in Europe/Berlin", "--window", "@daily for 1h"},
			want: &v1alpha1.Strategy{Windows: []run.Window{{Schedule: "0 22 * * 1,3,5", DurationSeconds: 21600, TimeZone: "Europe/Berlin"}, {Schedule: "@daily", DurationSeconds: 3600}}}},
		"no duration":    {line: []string{"--window", "0 22 * * 1"}, err: "CRON for DURATION"},
		"a week and one": {line: []string{"--window", "@daily for 169h"}, err: "a minute to 168h"},
		"no such zone":   {line: []string{"--window", "@daily for 1h in Europe/Bonn"}, err: "Europe/Bonn"},
		"rotator":        {line: []string{"--max-scaling", "5", "--evict-grace-period", "60"}, told: "lengthens none", want: &v1alpha1.Strategy{MaxSurge: new(intstr.FromInt32(5)), Drain: &v1alpha1.Drain{GracePeriodCapSeconds: new(int32(60))}}},
		"twice":          {line: []string{"--max-scaling", "5", "--max-surge", "5"}, err: "by another name"},
		"waits":          {line: []string{"--wait-between-drains", "60"}, told: "--wait-between-drains has no effect"},
		"retries":        {line: []string{"--max-drain-retries", "10"}, told: "drain.timeoutSeconds"},
		"cluster":        {line: []string{"--cluster", "prod"}, err: "--context"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var told bytes.Buffer
			got, err := parsed(t, c.line).strategy(&told)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("the error is %v, want %q", err, c.err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" && c.err == "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if (told.Len() == 0) != (c.told == "") || !strings.Contains(told.String(), c.told) {
				t.Errorf("told %q, want %q", told.String(), c.told)
			}
		})
	}
}

func TestGroupsOfARun(t *testing.T) {
	t.Parallel()
	groups := []v1alpha1.NodeGroup{{}, {}, {}}
	groups[0].Name, groups[1].Name, groups[2].Name, groups[2].Spec.Role = "apps", "jobs", "masters", v1alpha1.ControlPlane
	cases := map[string]struct {
		line, args, want []string
		err              string
	}{
		"all":               {},
		"named":             {args: []string{"apps"}, want: []string{"apps"}},
		"masters":           {line: []string{"--rotate-masters"}, want: []string{"masters"}},
		"both":              {line: []string{"--rotate-masters", "--rotate-workers"}, want: []string{"apps", "jobs", "masters"}},
		"named and masters": {line: []string{"--rotate-masters"}, args: []string{"jobs"}, want: []string{"jobs", "masters"}},
		"neither":           {line: []string{"--rotate-masters=false"}, err: "leave no NodeGroup"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := parsed(t, c.line)
			got, err := r.rotator.choose(c.args, groups, r.given)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("the error is %v, want %q", err, c.err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestStandaloneFlags(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		line []string
		want string // Of the error; empty if there is none.
	}{
		"groups without it":  {[]string{"--auto-scaling-group", "a", "--region", "r"}, "are for --standalone"},
		"no groups":          {[]string{"--standalone"}, "say which groups"},
		"no region":          {[]string{"--standalone", "--eks", "prod/apps"}, "--region"},
		"resumed and groups": {[]string{"--standalone", "--resume", "x", "--groups", "f"}, "--resume goes on"},
		"resumed":            {[]string{"--standalone", "--resume", "x"}, ""},
		"groups":             {[]string{"--standalone", "--auto-scaling-group", "a,b", "--region", "r"}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var a standalone
			cmd := &cobra.Command{}
			a.addFlags(cmd)
			if err := cmd.ParseFlags(c.line); err != nil {
				t.Fatal(err)
			}
			err := a.check(nil, startFlags{}, cmd.Flags().Changed)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
	if _, err := (&standalone{eks: []string{"prod"}}).providers(); err == nil || !strings.Contains(err.Error(), "CLUSTER/NODEGROUP") {
		t.Errorf("--eks prod: %v", err)
	}
}
