package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/rotation"
)

// Observe reads what a decision looks at.
func (f *feature) Observe(ctx context.Context, run *v1alpha1.NodeRotation) (rotation.Snapshot, error) {
	s := rotation.Snapshot{Run: run, Groups: map[string]*v1alpha1.NodeGroup{}, Images: map[string]*v1alpha1.NodeImage{}, Clouds: map[string]rotation.Cloud{}}
	var runs v1alpha1.NodeRotationList
	var records v1alpha1.NodeReplacementList
	if err := f.list(ctx, &runs); err != nil {
		return s, err
	}
	// There may be thousands, and nobody changes what a decision has seen: so they are not copied.
	if err := f.cache.List(ctx, &records, client.UnsafeDisableDeepCopy); err != nil {
		return s, fmt.Errorf("list records: %w", err)
	}
	for i := range runs.Items {
		if runs.Items[i].UID != run.UID {
			s.Others = append(s.Others, runs.Items[i])
		}
	}
	if err := f.observeGroups(ctx, &s); err != nil {
		return s, err
	}
	s.Records = slices.DeleteFunc(records.Items, func(r v1alpha1.NodeReplacement) bool { return r.Spec.Rotation != run.Name })
	slices.SortFunc(s.Records, func(a, b v1alpha1.NodeReplacement) int { return strings.Compare(a.Name, b.Name) })
	if rotation.Finished(run.Status.Phase) {
		s.Cluster = drain.NewCluster()
		if len(f.active(ctx, run)) == 0 {
			f.index.sleep()
			f.views = rotation.NewViews()
		}
		return s, nil
	}
	due, _ := gate.Due(rotation.Gates(run, s.Groups), run.Status.Gates, f.clock.Now())
	s.Observed = f.gates.Observe(f.run, run.UID, due) //nolint:contextcheck // A check outlives the pass that asks for it.
	for _, name := range concerned(run, s.Groups) {
		s.Clouds[name] = f.clouds.describe(ctx, s.Groups[name])
		if s.Groups[name].Spec.Role == v1alpha1.ControlPlane && s.ControlPlane == "" {
			s.ControlPlane = f.controlPlane(ctx)
		}
	}
	var err error
	s.Cluster, err = f.index.current(ctx, f.run)
	s.Views = f.views
	return s, err
}

func (f *feature) observeGroups(ctx context.Context, s *rotation.Snapshot) error {
	var groups v1alpha1.NodeGroupList
	var images v1alpha1.NodeImageList
	if err := f.list(ctx, &groups, &images); err != nil {
		return err
	}
	for i := range groups.Items {
		s.Groups[groups.Items[i].Name] = &groups.Items[i]
	}
	for i := range images.Items {
		s.Images[images.Items[i].Name] = &images.Items[i]
	}
	return nil
}

func (f *feature) list(ctx context.Context, lists ...client.ObjectList) error {
	for _, list := range lists {
		if err := f.cache.List(ctx, list); err != nil {
			return fmt.Errorf("list %T: %w", list, err)
		}
	}
	return nil
}

// concerned are the groups of a run that exist, sorted.
func concerned(run *v1alpha1.NodeRotation, all map[string]*v1alpha1.NodeGroup) []string {
	var names []string
	for name := range all {
		has := slices.ContainsFunc(run.Status.Groups, func(g v1alpha1.GroupRotation) bool { return g.Name == name && !g.Restored })
		wants := len(run.Spec.Groups) == 0 || slices.Contains(run.Spec.Groups, name)
		if has || len(run.Status.Groups) == 0 && wants {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// readyzTimeout bounds one question to the API server, which answers at once or is not well.
const readyzTimeout = 5 * time.Second

// controlPlane says what is wrong with the API server or its store; empty if nothing is.
func (f *feature) controlPlane(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, readyzTimeout)
	defer cancel()
	if err := f.index.clients.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return "the API server says that it is not ready: " + err.Error()
	}
	return ""
}

// Decide is rotation.Decide.
func (f *feature) Decide(s rotation.Snapshot, now time.Time) plan.Plan {
	return rotation.Decide(s, now)
}

// Report is rotation.Report.
func (f *feature) Report(s rotation.Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.NodeRotation {
	return rotation.Report(s, p, outcome, now)
}

// Unknown is rotation.Unknown.
func (f *feature) Unknown(run *v1alpha1.NodeRotation, err error, now time.Time) *v1alpha1.NodeRotation {
	return rotation.Unknown(run, err, now)
}

// Announce tells of phases, and of what a person has to look at.
func (f *feature) Announce(before, after *v1alpha1.NodeRotation, p plan.Plan, outcome plan.Outcome) []kit.Event {
	var events []kit.Event
	if before.Status.Phase != after.Status.Phase {
		events = append(events, phaseChanged(after))
	}
	events = append(events, waitsBegun(before, after)...)
	for _, step := range outcome.Done {
		if e := stepDone(step); e != nil {
			events = append(events, *e)
		}
	}
	if equality.Semantic.DeepEqual(before.Status, after.Status) && len(outcome.Done) == 0 {
		return nil
	}
	return events
}
