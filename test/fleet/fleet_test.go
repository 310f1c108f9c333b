package fleet

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/api/nodes/v1alpha1"
	shared "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/cli"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
)

// fleet is a run over the two members, one wave each.
func fleet(name string) *v1alpha1.FleetRotation {
	return &v1alpha1.FleetRotation{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.FleetRotationSpec{
			Waves: []v1alpha1.FleetWave{
				{ClusterSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"stage": "canary"}}, BakeSeconds: 1},
				{ClusterSelector: &metav1.LabelSelector{}},
			},
			Rotation:      &v1alpha1.NodeRotationSpec{Groups: []string{"workers"}},
			FreezeSeconds: new(int32(15)),
		},
	}
}

func create(t *testing.T, run *v1alpha1.FleetRotation) {
	t.Helper()
	if err := hub(t).Create(t.Context(), run); err != nil {
		t.Fatal(err)
	}
}

// reaches waits until a run is in a phase.
func reaches(t *testing.T, name string, phase v1alpha1.Phase) *v1alpha1.FleetRotation {
	t.Helper()
	run, c := &v1alpha1.FleetRotation{}, hub(t)
	eventually(t, func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, types.NamespacedName{Name: name}, run); err != nil {
			return "", err
		}
		if run.Status.Phase != phase {
			return fmt.Sprintf("%s to be %s; its status is %+v", name, phase, run.Status), nil
		}
		return "", nil
	})
	return run
}

// rotating waits until a cluster's own rotation is at work.
func rotating(t *testing.T, run *v1alpha1.FleetRotation, m *member) *v1alpha1.NodeRotation {
	t.Helper()
	var found v1alpha1.NodeRotation
	eventually(t, func(ctx context.Context) (string, error) {
		of := rotations(ctx, t, run, m)
		if len(of) != 1 || of[0].Status.Phase != v1alpha1.Rotating {
			return fmt.Sprintf("a NodeRotation at work in %s; there is %+v", m.name, of), nil
		}
		found = of[0]
		return "", nil
	})
	return &found
}

func rotations(ctx context.Context, t *testing.T, run *v1alpha1.FleetRotation, m *member) []v1alpha1.NodeRotation {
	t.Helper()
	var list v1alpha1.NodeRotationList
	if err := m.List(ctx, &list, client.MatchingLabels{v1alpha1.FleetRotationLabel: string(run.UID)}); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// freeze returns the Lease; nil for none.
func (m *member) freeze(ctx context.Context, t *testing.T) *coordinationv1.Lease {
	t.Helper()
	var lease coordinationv1.Lease
	err := m.Get(ctx, types.NamespacedName{Namespace: install.Namespace, Name: v1beta1.AdmissionFreeze}, &lease)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return &lease
}

func thawed(t *testing.T, members ...*member) {
	t.Helper()
	for _, m := range members {
		if lease := m.freeze(t.Context(), t); lease != nil {
			t.Errorf("%s is frozen by %s", m.name, *lease.Spec.HolderIdentity)
		}
	}
}

// TestFleet rotates two clusters, again and again.
func TestFleet(t *testing.T) { //nolint:paralleltest // One run after the other.
	canary := startMember(t, "eu-1", map[string]string{"stage": "canary", "region": "eu"})
	other := startMember(t, "us-1", map[string]string{"region": "us"})
	kill := windlass(t, clustertest.Config(t, install.Identity))

	t.Run("two waves", func(t *testing.T) {
		canary.play(lasts)
		other.play(succeeds)
		run := fleet("two-waves")
		create(t, run)
		rotation := rotating(t, run, canary)
		if lease := canary.freeze(t.Context(), t); lease == nil || !strings.Contains(*lease.Spec.HolderIdentity, "two-waves") {
			t.Errorf("nodes are replaced, and the freeze is %+v", lease)
		}
		if !slices.Equal(rotation.Spec.Groups, []string{"workers"}) {
			t.Errorf("the rotation is %+v", rotation.Spec)
		}
		if of := rotations(t.Context(), t, run, other); len(of) > 0 {
			t.Errorf("the second wave is at work before the first has passed: %+v", of)
		}
		canary.play(succeeds)
		done := reaches(t, run.Name, v1alpha1.Succeeded)
		if done.Status.Done != 2 || done.Status.Selected != 2 || done.Status.Clusters[0].Replaced != 3 || !meta.IsStatusConditionTrue(done.Status.Conditions, v1alpha1.ConditionReady) {
			t.Errorf("status %+v", done.Status)
		}
		if len(rotations(t.Context(), t, run, other)) != 1 {
			t.Error("the second wave has no rotation")
		}
		thawed(t, canary, other)
		if err := hub(t).Delete(t.Context(), done); err != nil {
			t.Fatal(err)
		}
		goes(t, run.Name)
	})

	t.Run("from the command line", func(t *testing.T) {
		canary.play(lasts)
		other.play(succeeds)
		if code, out, problems := command(t, "clusters"); code != 0 || !strings.Contains(out, "region=eu,stage=canary") || strings.Contains(out, " no ") {
			t.Errorf("clusters: exit code %d\n%s%s", code, out, problems)
		}
		if code, out, problems := command(t, "start", "typed", "--wave", "stage=canary", "--wave", "", "--group", "workers"); code != 0 {
			t.Fatalf("start: exit code %d\n%s%s", code, out, problems)
		}
		if code, _, problems := command(t, "start", "typed", "--wave", ""); code != 1 || !strings.Contains(problems, "already exists") {
			t.Errorf("a second start: exit code %d, %s", code, problems)
		}
		rotating(t, reaches(t, "typed", v1alpha1.Rotating), canary)
		if code, out, problems := command(t, "pause", "typed"); code != 0 {
			t.Errorf("pause: exit code %d\n%s%s", code, out, problems)
		}
		canary.play(succeeds)
		// What was begun is finished, and no more is begun.
		eventually(t, func(ctx context.Context) (string, error) {
			var run v1alpha1.FleetRotation
			err := hub(t).Get(ctx, types.NamespacedName{Name: "typed"}, &run)
			if !meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionStalled) {
				return fmt.Sprintf("the run to rest; its status is %+v", run.Status), err
			}
			return "", err
		})
		code, out, _ := command(t, "status", "typed")
		if code != 3 || !strings.Contains(out, "1 done, 0 failed, of 2") || !strings.Contains(out, "Paused") {
			t.Errorf("status: exit code %d\n%s", code, out)
		}
		thawed(t, canary, other)
		if code, out, problems := command(t, "resume", "typed"); code != 0 {
			t.Errorf("resume: exit code %d\n%s%s", code, out, problems)
		}
		reaches(t, "typed", v1alpha1.Succeeded)
		if code, out, problems := command(t, "status", "typed", "-o", "json"); code != 0 || !strings.Contains(out, `"phase": "Succeeded"`) {
			t.Errorf("status: exit code %d\n%s%s", code, out, problems)
		}
		canary.play(lasts)
		if code, out, problems := command(t, "start", "aborted", "--wave", "stage=canary"); code != 0 {
			t.Fatalf("start: exit code %d\n%s%s", code, out, problems)
		}
		rotating(t, reaches(t, "aborted", v1alpha1.Rotating), canary)
		if code, out, problems := command(t, "abort", "aborted"); code != 0 {
			t.Errorf("abort: exit code %d\n%s%s", code, out, problems)
		}
		reaches(t, "aborted", v1alpha1.Aborted)
		thawed(t, canary, other)
	})

	t.Run("a gate that fails", func(t *testing.T) {
		canary.play(func(rotation *v1alpha1.NodeRotation) {
			succeeds(rotation)
			rotation.Status.Gates = []shared.GateStatus{{Name: "errors", Passing: metav1.ConditionFalse, Message: "0.3 is not less than 0.01"}}
		})
		other.play(succeeds)
		run := fleet("gate")
		create(t, run)
		done := reaches(t, run.Name, v1alpha1.Failed)
		if row := done.Status.Clusters[0]; row.Reason != v1alpha1.ReasonGateFailed || !strings.Contains(row.Message, "0.3 is not less") {
			t.Errorf("%+v", row)
		}
		if of := rotations(t.Context(), t, run, other); len(of) > 0 {
			t.Errorf("the second wave was begun: %+v", of)
		}
		thawed(t, canary, other)
	})

	t.Run("deleted in the middle", func(t *testing.T) {
		canary.play(lasts)
		run := fleet("deleted")
		create(t, run)
		rotating(t, run, canary)
		if err := hub(t).Delete(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		goes(t, run.Name)
		thawed(t, canary, other)
		if of := rotations(t.Context(), t, run, canary); len(of) != 1 || of[0].Status.Phase != v1alpha1.Aborted {
			t.Errorf("the rotation goes on: %+v", of)
		}
	})

	t.Run("a cluster that cannot be reached", func(t *testing.T) {
		canary.play(succeeds)
		other.play(succeeds)
		const token = "not-to-be-told"
		lost := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: install.Namespace, Name: "lost", Labels: map[string]string{v1alpha1.FleetClusterLabel: "true"}},
			StringData: map[string]string{"server": "https://127.0.0.1:1", "token": token},
		}
		if err := hub(t).Create(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := hub(t).Delete(context.WithoutCancel(t.Context()), lost); err != nil {
				t.Error(err)
			}
		})
		if code, out, problems := command(t, "clusters"); code != 3 || !strings.Contains(out, "connection refused") || strings.Contains(out+problems, token) {
			t.Errorf("clusters: exit code %d\n%s%s", code, out, problems)
		}
		run := fleet("lost")
		run.Spec.Waves = []v1alpha1.FleetWave{{Names: []string{"lost", "us-1"}}}
		run.Spec.ClusterTimeoutSeconds = new(int32(15))
		run.Spec.FailureThreshold = 1
		create(t, run)
		done := reaches(t, run.Name, v1alpha1.Failed)
		for _, row := range done.Status.Clusters {
			want := map[string]v1alpha1.ClusterPhase{"lost": v1alpha1.ClusterFailed, "us-1": v1alpha1.ClusterSucceeded}[row.Name]
			if row.Phase != want || strings.Contains(row.Message, token) {
				t.Errorf("%+v, want %s", row, want)
			}
		}
	})

	t.Run("the management cluster dies", func(t *testing.T) {
		windlass(t, memberConfig(t, canary))
		installed := newInstallation(t, canary, "before")
		stable(t, canary, installed)
		canary.play(lasts)
		run := fleet("dies")
		create(t, run)
		rotating(t, run, canary)
		late := newInstallation(t, canary, "late")
		frozen(t, canary, late)
		kill()
		// Nobody renews the freeze any more.
		stable(t, canary, late)
		stable(t, canary, installed)
		if lease := canary.freeze(t.Context(), t); lease == nil {
			t.Error("somebody else has lifted the freeze")
		}
	})
}

// command runs a command line about fleets.
func command(t *testing.T, arguments ...string) (code int, out, problems string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.Main(t.Context(), slices.Concat([]string{"fleet"}, arguments, []string{"--kubeconfig", clustertest.Kubeconfig()}), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// goes waits until a run is gone.
func goes(t *testing.T, name string) {
	t.Helper()
	c := hub(t)
	eventually(t, func(ctx context.Context) (string, error) {
		var run v1alpha1.FleetRotation
		err := c.Get(ctx, types.NamespacedName{Name: name}, &run)
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		return fmt.Sprintf("%s to go; its status is %+v", name, run.Status), err
	})
}

// TestGuide: the run of the guide is taken, and changed as the guide says it can be.
func TestGuide(t *testing.T) {
	t.Parallel()
	c := hub(t)
	object := manifests(t, 1)[0]
	if err := c.Create(t.Context(), object, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
}

// TestValidation: what a run is to do cannot be changed.
func TestValidation(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		made    func(*v1alpha1.FleetRotation)
		changed func(*v1alpha1.FleetRotation)
		want    string
	}{
		"neither a selector nor names": {made: func(f *v1alpha1.FleetRotation) { f.Spec.Waves[0].ClusterSelector = nil }, want: "either clusterSelector or names"},
		"both":                         {made: func(f *v1alpha1.FleetRotation) { f.Spec.Waves[0].Names = []string{"a"} }, want: "either clusterSelector or names"},
		"no waves":                     {made: func(f *v1alpha1.FleetRotation) { f.Spec.Waves = nil }, want: "spec.waves"},
		"a long name":                  {made: func(f *v1alpha1.FleetRotation) { f.Name = strings.Repeat("a", 55) }, want: "54 characters"},
		"rolled back":                  {made: func(f *v1alpha1.FleetRotation) { f.Spec.End = v1alpha1.EndRollBack }, want: "aborted only"},
		"paused in all clusters":       {made: func(f *v1alpha1.FleetRotation) { f.Spec.Rotation.Paused = true }, want: "cannot be given to all"},
		"a short freeze":               {made: func(f *v1alpha1.FleetRotation) { f.Spec.FreezeSeconds = new(int32(1)) }, want: "freezeSeconds"},
		"other waves":                  {changed: func(f *v1alpha1.FleetRotation) { f.Spec.Waves[0].MaxParallel = 3 }, want: "waves of a run cannot be changed"},
		"another rotation":             {changed: func(f *v1alpha1.FleetRotation) { f.Spec.Rotation.Groups = nil }, want: "cannot be changed"},
		"no rotation":                  {changed: func(f *v1alpha1.FleetRotation) { f.Spec.Rotation = nil }, want: "cannot be changed"},
		"another freeze":               {changed: func(f *v1alpha1.FleetRotation) { f.Spec.FreezeSeconds = new(int32(60)) }, want: "cannot be changed"},
		"gone on after the end": {
			made:    func(f *v1alpha1.FleetRotation) { f.Spec.End = v1alpha1.EndAbort },
			changed: func(f *v1alpha1.FleetRotation) { f.Spec.End = "" }, want: "cannot go on",
		},
		"paused":          {changed: func(f *v1alpha1.FleetRotation) { f.Spec.Paused = true }},
		"aborted":         {changed: func(f *v1alpha1.FleetRotation) { f.Spec.End = v1alpha1.EndAbort }},
		"another failure": {changed: func(f *v1alpha1.FleetRotation) { f.Spec.FailureThreshold = 3 }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := fleet("validation-" + strings.ReplaceAll(name, " ", "-"))
			if c.made != nil {
				c.made(run)
			}
			err := hub(t).Create(t.Context(), run)
			if err == nil {
				t.Cleanup(func() { remove(t, run) })
				if c.changed == nil {
					t.Fatal("it is taken")
				}
				before := run.DeepCopy()
				c.changed(run)
				err = hub(t).Patch(t.Context(), run, client.MergeFrom(before))
			}
			if c.want == "" && err != nil || c.want != "" && !refused(err, c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func remove(t *testing.T, run *v1alpha1.FleetRotation) {
	t.Helper()
	if err := hub(t).Delete(context.WithoutCancel(t.Context()), run); err != nil {
		t.Error(err)
	}
}
