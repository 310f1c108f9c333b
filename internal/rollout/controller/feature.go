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
	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/notify"
	"windlass.dev/internal/rollout"
	"windlass.dev/internal/tell"
)

// Observe reads what a decision looks at.
func (f *feature) Observe(ctx context.Context, r *v1alpha1.InstallationRollout) (rollout.Snapshot, error) {
	s, err := f.read(ctx, f.cache, r)
	if err != nil {
		return s, err
	}
	s.Refused = f.refusedBy(r)
	due, _ := gate.Due(rollout.Gates(r), r.Status.Gates, f.clock.Now())
	s.Observed = f.gates.Observe(f.life, r.UID, due) //nolint:contextcheck // A check outlives the pass that asks for it.
	return s, nil
}

// read makes a snapshot. Of installations that are as they were, it looks at nothing again.
func (f *feature) read(ctx context.Context, reader client.Reader, r *v1alpha1.InstallationRollout) (rollout.Snapshot, error) {
	s := rollout.Snapshot{Rollout: r}
	var others v1alpha1.InstallationRolloutList
	var all installations.MattermostList
	// There may be thousands, and nobody changes what a decision has seen: so they are not copied.
	if err := reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return s, fmt.Errorf("list installations: %w", err)
	}
	if err := reader.List(ctx, &others); err != nil {
		return s, fmt.Errorf("list roll-outs: %w", err)
	}
	for i := range others.Items {
		if others.Items[i].UID != r.UID {
			s.Others = append(s.Others, others.Items[i])
		}
	}
	if r.Spec.Change.Migrate {
		return f.readMigrating(ctx, reader, s, all.Items)
	}
	known := make(map[types.UID]*rollout.Installation, len(all.Items))
	s.Installations = make([]*rollout.Installation, 0, len(all.Items))
	for i := range all.Items {
		mm := &all.Items[i]
		one := f.known[mm.UID]
		if one == nil || one.Meta.ResourceVersion != mm.ResourceVersion {
			one = rollout.Read(new(*mm)) // A copy, or it would keep all of the list.
		}
		known[mm.UID] = one
		s.Installations = append(s.Installations, one)
	}
	f.known = known
	return s, nil
}

// readMigrating adds the ClusterInstallations, and the Mattermosts that were some until this
// roll-out had them migrated.
func (f *feature) readMigrating(ctx context.Context, reader client.Reader, s rollout.Snapshot, mattermosts []installations.Mattermost) (rollout.Snapshot, error) {
	var all older.ClusterInstallationList
	if err := reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return s, fmt.Errorf("list ClusterInstallations: %w", err)
	}
	known := make(map[types.UID]*rollout.Installation, len(all.Items))
	there := make(map[string]bool, len(all.Items))
	for i := range all.Items {
		ci := &all.Items[i]
		one := f.older[ci.UID]
		if one == nil || one.Meta.ResourceVersion != ci.ResourceVersion {
			one = rollout.ReadOlder(new(*ci))
		}
		known[ci.UID], there[one.Name] = one, true
		s.Installations = append(s.Installations, one)
	}
	f.older = known
	for i := range mattermosts {
		if one := rollout.ReadMigrated(&mattermosts[i], s.Rollout); one != nil && !there[one.Name] {
			s.Installations = append(s.Installations, one)
		}
	}
	return s, nil
}

// Read makes, past any cache, the snapshot of a roll-out, for one look from the command line.
func Read(ctx context.Context, c client.Reader, r *v1alpha1.InstallationRollout) (rollout.Snapshot, error) {
	return (&feature{}).read(ctx, c, r)
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
