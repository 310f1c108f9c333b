package fleetrotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/admission"
	"windlass.dev/internal/kit/plan"
)

var start = time.Date(2026, 11, 3, 2, 0, 0, 0, time.UTC)

// world is a fleet of clusters and the resource in its management cluster. Only what is
// in it outlives a crash.
type world struct {
	now      time.Time
	fleet    *v1alpha1.FleetRotation
	clusters map[string]*cluster
	// gone says that the resource was deleted and nothing keeps it.
	gone bool
	// version is the last resource version.
	version int
}

// cluster is one member as its own API server has it.
type cluster struct {
	name        string
	labels      map[string]string
	unreachable bool
	unfit       bool
	lease       *coordinationv1.Lease
	rotation    *v1alpha1.NodeRotation
	// made counts the rotations that were ever made.
	made          int
	installations Installations
	// becomes is how its rotation ends if it is let be, after so many ticks.
	becomes v1alpha1.Phase
	ticks   int
	// gate fails at the end, although the rotation succeeds.
	gate bool
}

func newWorld(fleet *v1alpha1.FleetRotation, clusters ...*cluster) *world {
	fleet.Name, fleet.UID, fleet.Generation = "august", "0123abcd-89ef-4000-8000-000000000000", 1
	w := &world{now: start, fleet: fleet, clusters: map[string]*cluster{}}
	for _, c := range clusters {
		if c.becomes == "" {
			c.becomes = v1alpha1.Succeeded
		}
		w.clusters[c.name] = c
	}
	return w
}

func (w *world) names() []string {
	var names []string
	for name := range w.clusters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// observe reads what Looks asks for.
func (w *world) observe() Snapshot {
	s := Snapshot{Fleet: w.fleet.DeepCopy(), Members: map[string]Member{}}
	for _, name := range w.names() {
		s.Registered = append(s.Registered, Registration{Name: name, Labels: w.clusters[name].labels})
	}
	for _, look := range Looks(w.fleet, w.now) {
		c, registered := w.clusters[look.Cluster]
		switch {
		case !registered:
			s.Members[look.Cluster] = Member{Problem: &Problem{v1alpha1.ReasonNotRegistered, "No such registration."}}
			continue
		case c.unreachable:
			s.Members[look.Cluster] = Member{Problem: &Problem{v1alpha1.ReasonUnreachable, "It does not answer."}}
			continue
		}
		m := Member{Namespace: "windlass-system", Freeze: c.lease.DeepCopy(), Rotation: c.rotation.DeepCopy()}
		if look.Check {
			m.Version = "v1.37.2"
			if c.unfit {
				m.Unfit = []Problem{{v1alpha1.ReasonNotPermitted, "It may not."}}
			}
		}
		if look.Installations {
			m.Installations = &Installations{Total: c.installations.Total, Unstable: slices.Clone(c.installations.Unstable)}
		}
		s.Members[look.Cluster] = m
	}
	return s
}

var errUnreachable = errors.New("it does not answer")

// act carries out one action as the API servers would.
func (w *world) act(action plan.Action) error {
	if name := clusterOf(action); name != "" && w.clusters[name].unreachable {
		return errUnreachable
	}
	w.version++
	switch action := action.(type) {
	case Freeze:
		c := w.clusters[action.Cluster]
		if c.lease != nil && c.lease.ResourceVersion != action.Lease.ResourceVersion || c.lease == nil && action.Lease.ResourceVersion != "" {
			return errors.New("conflict")
		}
		c.lease = action.Lease.DeepCopy()
		c.lease.ResourceVersion = fmt.Sprint(w.version)
	case Thaw:
		c := w.clusters[action.Cluster]
		if c.lease == nil || c.lease.ResourceVersion != action.Lease.ResourceVersion {
			return errors.New("conflict")
		}
		c.lease = nil
	case MakeRotation:
		c := w.clusters[action.Cluster]
		if c.rotation != nil {
			return errors.New("exists")
		}
		c.made++
		c.rotation = action.Rotation.DeepCopy()
		c.rotation.UID = types.UID(fmt.Sprint(action.Cluster, w.version))
	case EndRotation:
		c := w.clusters[action.Cluster]
		if c.rotation == nil || c.rotation.UID != action.UID {
			return errors.New("conflict")
		}
		c.rotation.Spec.End = v1alpha1.EndAbort
	case plan.Apply:
		w.fleet.Finalizers = slices.Clone(action.Object.GetFinalizers())
		if w.fleet.DeletionTimestamp != nil && len(w.fleet.Finalizers) == 0 {
			w.gone = true
		}
	default:
		return fmt.Errorf("unknown action %s", action)
	}
	return nil
}

// fate says of a step, before it is carried out, what becomes of it.
type fate int

const (
	works   fate = iota
	fails        // It has no effect, and an error is returned.
	hides        // It has its effect, and an error is returned.
	crashes      // It has its effect, and nothing else happens in this pass.
)

// fataler is a test, or one draw of a property.
type fataler interface{ Fatalf(string, ...any) }

// pass makes one pass of the controller, and returns when it wants to be woken.
func (w *world) pass(t fataler, step func(plan.Action) fate, after func(plan.Action)) time.Duration {
	s := w.observe()
	before := w.observe()
	p := Decide(s, w.now)
	again := Decide(s, w.now)
	if diff := cmp.Diff(texts(p), texts(again)) + cmp.Diff(before, s); diff != "" {
		t.Fatalf("deciding is not pure: %s", diff)
	}
	outcome := plan.Outcome{}
	for _, one := range p.Steps {
		what := step(one.Action)
		var err error
		if what != fails {
			err = w.act(one.Action)
		}
		if err == nil && what != works && what != crashes {
			err = errors.New("injected")
		}
		after(one.Action)
		if what == crashes {
			return time.Millisecond
		}
		if err != nil {
			outcome.Failed = append(outcome.Failed, plan.Failure{Step: one, Err: err})
		} else {
			outcome.Done = append(outcome.Done, one)
		}
	}
	if !w.gone {
		w.fleet.Status = Report(s, p, outcome, w.now).Status
	}
	return p.Wake
}

func texts(p plan.Plan) []string {
	var all []string
	for _, step := range p.Steps {
		all = append(all, step.Action.String())
	}
	return all
}

// tick lets the clusters' own controllers work.
func (c *cluster) tick() {
	if c.rotation == nil || ended(c.rotation) {
		return
	}
	status := &c.rotation.Status
	status.Phase = v1alpha1.Rotating
	if c.rotation.Spec.End != "" {
		status.Phase = v1alpha1.Aborted
		return
	}
	if c.ticks--; c.ticks < 0 {
		status.Phase = c.becomes
		if c.gate {
			status.Gates = []gateStatus{{Name: "errors", Passing: metav1.ConditionFalse, Message: "too many"}}
		}
	}
}

// frozen reports whether the run holds the cluster's freeze now.
func (w *world) frozen(c *cluster) bool {
	f := admission.Of(c.lease, w.now)
	return f != nil && f.By == Holder(w.fleet)
}

// run makes passes without faults until the run is over, and returns what was done, in
// order. Each pass is said with the seconds since the start.
func (w *world) run(t fataler, between func(pass int)) []string {
	var log []string
	for i := range 2000 {
		if Finished(w.fleet) && (w.fleet.DeletionTimestamp == nil || w.gone) {
			return log
		}
		if between != nil {
			between(i)
		}
		before := w.fleet.Status.DeepCopy()
		wake := w.pass(t, func(a plan.Action) fate {
			if rotate, ok := a.(MakeRotation); ok && freezes(w.fleet) && !w.frozen(w.clusters[rotate.Cluster]) {
				t.Fatalf("%s, and its admission is not frozen", a)
			}
			return works
		}, func(a plan.Action) {
			if text := a.String(); !strings.HasPrefix(text, "apply") {
				log = append(log, text)
			}
		})
		for _, name := range w.names() {
			w.clusters[name].tick()
		}
		if cmp.Equal(before, &w.fleet.Status) {
			w.now = w.now.Add(max(wake, time.Second)) // A change of the status wakes at once.
		}
	}
	t.Fatalf("the run does not end: %+v", w.fleet.Status)
	return nil
}
