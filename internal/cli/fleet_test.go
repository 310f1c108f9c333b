package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
)

func TestFleetStart(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		flags fleetStart
		want  v1alpha1.FleetRotationSpec
		err   string
	}{
		"two waves": {
			fleetStart{waves: []string{"stage=canary", ""}, parallel: 3, bake: time.Hour, failures: 1},
			v1alpha1.FleetRotationSpec{FailureThreshold: 1, Waves: []v1alpha1.FleetWave{
				{ClusterSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"stage": "canary"}}, MaxParallel: 3, BakeSeconds: 3600},
				{ClusterSelector: &metav1.LabelSelector{}, MaxParallel: 3},
			}}, "",
		},
		"an image for some groups, without a freeze": {
			fleetStart{waves: []string{""}, parallel: 1, groups: []string{"workers"}, images: []string{"ami-1"}, noFreeze: true},
			v1alpha1.FleetRotationSpec{
				Waves:           []v1alpha1.FleetWave{{ClusterSelector: &metav1.LabelSelector{}, MaxParallel: 1}},
				Rotation:        &v1alpha1.NodeRotationSpec{Groups: []string{"workers"}, Target: &v1alpha1.Target{Images: []string{"ami-1"}}},
				FreezeAdmission: new(false),
			}, "",
		},
		"no wave":                 {fleetStart{}, v1alpha1.FleetRotationSpec{}, "say which clusters"},
		"a selector that is none": {fleetStart{waves: []string{"stage in canary"}}, v1alpha1.FleetRotationSpec{}, `--wave "stage in canary"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := c.flags.fleet("august")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// An empty selector may be written in two ways.
			for i := range got.Spec.Waves {
				if s := got.Spec.Waves[i].ClusterSelector; len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0 {
					got.Spec.Waves[i].ClusterSelector = &metav1.LabelSelector{}
				} else if len(s.MatchExpressions) == 0 {
					s.MatchExpressions = nil
				}
			}
			if diff := cmp.Diff(c.want, got.Spec); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFleetText(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 3, 2, 0, 0, 0, time.UTC)
	at := func(before time.Duration) metav1.Time { return metav1.NewTime(now.Add(-before)) }
	until := at(-5 * time.Minute)
	run := &v1alpha1.FleetRotation{ObjectMeta: metav1.ObjectMeta{Name: "august"}, Spec: v1alpha1.FleetRotationSpec{Waves: make([]v1alpha1.FleetWave, 2)}}
	run.Status = v1alpha1.FleetRotationStatus{
		Phase: v1alpha1.Rotating, Selected: 3, Done: 1, Wave: 1,
		Conditions: []metav1.Condition{{Type: "Ready", Status: "False", Reason: "Rotating", Message: "In wave 2 of 2 nodes are replaced in b."}},
		Clusters: []v1alpha1.ClusterRotation{
			{Name: "a", Phase: v1alpha1.ClusterSucceeded, Since: at(time.Hour), Replaced: 9},
			{Name: "b", Wave: 1, Phase: v1alpha1.ClusterRotating, Since: at(time.Minute), Replaced: 2, Open: 1, Outdated: 7},
			{Name: "c", Wave: 1, Phase: v1alpha1.ClusterPending, Since: at(2 * time.Minute), Reason: "Unreachable", Message: "The cluster does not answer within 5s."},
		},
		Waits: []v1alpha1.Wait{{Subject: "Cluster/c", Reason: "Unreachable", Message: "The cluster does not answer within 5s.", Since: at(2 * time.Minute), Until: &until}},
	}
	var out bytes.Buffer
	if err := fleetText(&out, run, now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 of 2", "1 done, 0 failed, of 3", "Unreachable: The cluster does not answer", "Since 2m, at most 5m more."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, out.String())
		}
	}
}
