package controller

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/fleet/v1alpha1"
	older "windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/notify"
	"windlass.dev/internal/rollout"
	"windlass.dev/internal/tell"
)

// Observe reads what a decision looks at.
func (f *feature) Observe(ctx context.Context, r *v1alpha1.InstallationRollout) (rollout.Snapshot, error) {
	s, err := f.read(ctx, r)
	if err != nil {
		return s, err
	}
	s.Refused = f.refusedBy(r)
	due, _ := gate.Due(rollout.Gates(r), r.Status.Gates, f.clock.Now())
	s.Observed = f.gates.Observe(f.life, r.UID, due) //nolint:contextcheck // A check outlives the pass that asks for it.
	return s, nil
}

// Try asks the API server whether it would carry out an action, and changes nothing.
func Try(ctx context.Context, c client.Client, action plan.Action) error {
	switch a := action.(type) {
	case rollout.Apply:
		return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(a.Object.DeepCopy()), client.FieldOwner(v1alpha1.Manager), client.ForceOwnership, client.DryRunAll)
	case rollout.Merge:
		object := &older.ClusterInstallation{} // Of a Mattermost, nothing is planned to be given back.
		object.Namespace, object.Name, _ = strings.Cut(a.Installation, "/")
		return c.Patch(ctx, object, client.RawPatch(types.MergePatchType, a.Patch), client.FieldOwner(v1alpha1.Manager), client.DryRunAll)
	default:
		return nil
	}
}

// Decide is rollout.Decide.
func (f *feature) Decide(s rollout.Snapshot, now time.Time) plan.Plan {
	began := f.clock.Now()
	p := rollout.Decide(s, now)
	f.decided.Observe(f.clock.Since(began).Seconds())
	return p
}

// Act carries out one step.
func (f *feature) Act(ctx context.Context, w *kit.Writer, s rollout.Snapshot, action plan.Action) error {
	switch a := action.(type) {
	case rollout.Apply:
		_, err := w.Apply(ctx, a.Object, "")
		return f.changed(s.Rollout, a.Installation, err)
	case rollout.Merge:
		namespace, name, _ := strings.Cut(a.Installation, "/")
		kind := Mattermosts
		if a.Kind == ClusterInstallations.Kind {
			kind = ClusterInstallations
		}
		err := w.Merge(ctx, kind, types.NamespacedName{Namespace: namespace, Name: name}, a.Patch)
		return f.changed(s.Rollout, a.Installation, err)
	case tell.Notify:
		return f.sender.Tell(ctx, notify.Run{Kind: "InstallationRollout", Name: s.Rollout.Name, UID: s.Rollout.UID}, a)
	default:
		return fmt.Errorf("unknown action %q", action)
	}
}

// changed takes note of what came of a change of an installation.
func (f *feature) changed(r *v1alpha1.InstallationRollout, installation string, err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return &kit.DeclinedError{Err: err} // It has changed since it was read, and is about to be read again.
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.refused[r.UID]
	if err == nil {
		delete(of.by, installation)
		return nil
	}
	if of.generation != r.Generation {
		of = refusals{generation: r.Generation, by: map[string]rollout.Refusal{}}
		f.refused[r.UID] = of
	}
	of.by[installation] = rollout.Refusal{Message: err.Error(), Again: f.clock.Now().Add(refusedAgain)}
	return err
}

// refusedBy are the refusals of a roll-out as it is now: an edit may be the cure.
func (f *feature) refusedBy(r *v1alpha1.InstallationRollout) map[string]rollout.Refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	if of := f.refused[r.UID]; of.generation == r.Generation {
		return maps.Clone(of.by)
	}
	return nil
}

// Report is rollout.Report.
func (f *feature) Report(s rollout.Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.InstallationRollout {
	return rollout.Report(s, p, outcome, now)
}

// Unknown is rollout.Unknown.
func (f *feature) Unknown(r *v1alpha1.InstallationRollout, err error, now time.Time) *v1alpha1.InstallationRollout {
	return rollout.Unknown(r, err, now)
}

// Announce tells of phases, and of what a person has to look at.
func (f *feature) Announce(before, after *v1alpha1.InstallationRollout, _ plan.Plan, _ plan.Outcome) []kit.Event {
	var events []kit.Event
	phase := after.Status.Phase
	if ready := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady); ready != nil && before.Status.Phase != phase {
		warning := phase == v1alpha1.Halted || phase == v1alpha1.RollingBack || phase == v1alpha1.Aborting
		events = append(events, kit.Event{Warning: warning, Reason: string(phase), Action: "RollOut", Message: ready.Message})
	}
	is, was := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionStalled), meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionStalled)
	if is != nil && (was == nil || was.Reason != is.Reason) {
		events = append(events, kit.Event{Warning: true, Reason: is.Reason, Action: "RollOut", Message: is.Message})
	}
	return events
}
