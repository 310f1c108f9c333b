package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

var viewedAt = time.Date(2026, 6, 1, 22, 30, 0, 0, time.UTC)

func earlier(d time.Duration) *metav1.Time { return new(metav1.NewTime(viewedAt.Add(-d))) }

// golden compares a text with that of a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "rotate", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got\n%s", path, diff)
	}
}

func record(node string, phase v1alpha1.ReplacementPhase, since time.Duration, change func(*v1alpha1.NodeReplacementStatus)) v1alpha1.NodeReplacement {
	r := v1alpha1.NodeReplacement{Spec: v1alpha1.NodeReplacementSpec{Rotation: "june", Group: "apps", Node: node}, Status: v1alpha1.NodeReplacementStatus{Phase: phase, Since: earlier(since)}}
	if change != nil {
		change(&r.Status)
	}
	return r
}

// rotating is a run in the middle, with a node that waits for a budget.
func rotating() (*v1alpha1.NodeRotation, []v1alpha1.NodeReplacement) {
	budget := v1alpha1.Wait{Subject: "Node/apps-2", For: "PodDisruptionBudget/shop/payments", Reason: v1alpha1.ReasonBudget,
		Message: "no more of its pods may be unavailable now", Since: *earlier(3 * time.Minute), Until: earlier(-20 * time.Minute)}
	r := &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "june"}, Status: v1alpha1.NodeRotationStatus{
		Phase: v1alpha1.Rotating, StartedAt: earlier(12 * time.Minute), Outdated: 3, Open: 2, Replaced: 1,
		Groups: []v1alpha1.GroupRotation{{Name: "apps", Target: v1alpha1.Revision{Name: "apps:2"}, Size: 4, Outdated: 3, Updated: 2, Replaced: 1}},
		Waits:  []v1alpha1.Wait{budget},
		Gates:  []run.GateStatus{{Name: "errors", Passing: metav1.ConditionTrue, Message: "0.002 is less than 0.01"}, {Name: "latency", Passing: metav1.ConditionUnknown}},
		Estimate: &v1alpha1.Estimate{At: *earlier(0), Finish: *earlier(-10 * time.Minute), Seconds: 370, BoundSeconds: 285,
			Dominating: []v1alpha1.Cost{{Subject: "PodDisruptionBudget/shop/payments", Seconds: 270}, {Subject: "PodDisruptionBudget/shop/cart", Seconds: 60}}},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRotating, Message: "nodes are being replaced"}},
	}}
	return r, []v1alpha1.NodeReplacement{
		record("apps-3", v1alpha1.Terminating, 10*time.Second, nil),
		record("apps-2", v1alpha1.Draining, 4*time.Minute, func(s *v1alpha1.NodeReplacementStatus) { s.Wait = &budget }),
		record("apps-1", v1alpha1.Replaced, time.Minute, nil),
		{Spec: v1alpha1.NodeReplacementSpec{Rotation: "may", Group: "apps", Node: "apps-0"}},
	}
}

func TestStatusText(t *testing.T) {
	t.Parallel()
	blocked, records := rotating()
	blocked.Spec.Paused = true
	blocked.Status.Conditions = append(blocked.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionBlocked, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonBarePod,
		Message: "Node/apps-2 waits for Pod/shop/debug: nobody would make it again: delete it, or set drain.barePods to Evict"})
	middle, _ := rotating()
	failed := &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "june"}, Status: v1alpha1.NodeRotationStatus{
		Phase: v1alpha1.Failed, StartedAt: earlier(time.Hour), FinishedAt: earlier(10 * time.Minute), OutcomeMessage: "1 nodes could not be emptied, and were given back",
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Message: "1 nodes could not be emptied, and were given back"}},
	}}
	forced := []v1alpha1.NodeReplacement{
		record("apps-1", v1alpha1.SkippedPhase, 15*time.Minute, func(s *v1alpha1.NodeReplacementStatus) { s.Message = "not empty in 30m0s" }),
		record("apps-2", v1alpha1.Replaced, 12*time.Minute, func(s *v1alpha1.NodeReplacementStatus) { s.Forced = "volumes were still attached" }),
	}
	cases := map[string]rotationView{
		"status-rotating": viewOf(middle, records), "status-blocked": viewOf(blocked, records), "status-failed": viewOf(failed, forced),
		"status-unseen": viewOf(&v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "june"}}, nil),
	}
	for name, v := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := v.text(&out, viewedAt); err != nil {
				t.Fatal(err)
			}
			golden(t, name, out.String())
		})
	}
}

// TestPlainLines: a line for each change, and none for a view that is the same.
func TestPlainLines(t *testing.T) {
	t.Parallel()
	r, records := rotating()
	before := viewOf(&v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "june"}}, nil)
	middle := viewOf(r, records)
	r.Status.Phase, r.Status.Waits, r.Status.Groups[0].Outdated, r.Status.Groups[0].Replaced = v1alpha1.Succeeded, nil, 0, 4
	r.Status.FinishedAt = earlier(0)
	for i := range records {
		records[i].Status.Phase = v1alpha1.Replaced
	}
	records[1].Status.Forced = "its drain took longer than 30m0s"
	after := viewOf(r, records)
	if again := after.changes(&after); len(again) > 0 {
		t.Errorf("nothing changed, and there are lines: %q", again)
	}
	golden(t, "lines", strings.Join(slices.Concat(before.changes(nil), middle.changes(&before), after.changes(&middle)), "\n")+"\n")
}

func TestPlanText(t *testing.T) {
	t.Parallel()
	r, _ := rotating()
	cases := map[string]planView{
		"plan-blocked": {
			Groups: viewOf(r, nil).Groups, Outdated: 3,
			Nodes: []v1alpha1.PlannedNode{{Name: "apps-2", Group: "apps", Reason: "is made from apps:1, wanted is apps:2"}, {Name: "apps-3", Group: "apps", Reason: "is made from apps:1, wanted is apps:2"}},
			Blockers: []v1alpha1.Wait{{Subject: "Node/apps-2", For: "PodDisruptionBudget/shop/cart", Reason: v1alpha1.ReasonBudgetNever,
				Message: "it allows no disruption, ever: change it, or give Deployment/shop/cart one more replica"}},
			Estimate: r.Status.Estimate,
		},
		"plan-nothing": {Groups: []groupView{{Name: "apps", Size: 4, Target: "apps:2"}}},
	}
	for name, v := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := v.text(&out, viewedAt); err != nil {
				t.Fatal(err)
			}
			golden(t, name, out.String())
		})
	}
}

func TestNewestRun(t *testing.T) {
	t.Parallel()
	made := func(name string, age time.Duration, dry bool) v1alpha1.NodeRotation {
		return v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: *earlier(age)}, Spec: v1alpha1.NodeRotationSpec{DryRun: dry}}
	}
	runs := []v1alpha1.NodeRotation{made("b", time.Hour, false), made("old", 2*time.Hour, false), made("c", time.Hour, false), made("plan", 0, true)}
	if newest := newestRun(runs); newest == nil || newest.Name != "c" {
		t.Errorf("the newest is %v", newest)
	}
	if newest := newestRun(runs[3:]); newest != nil {
		t.Errorf("a dry run is no run: %v", newest.Name)
	}
}

func TestObjectName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"apps": "apps", "Prod_Apps/eu 1": "prod-apps-eu-1", "--": "group", strings.Repeat("a", 62) + "-bc": strings.Repeat("a", 62),
	} {
		if got := objectName(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}
