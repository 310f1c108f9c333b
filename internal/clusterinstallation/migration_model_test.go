package clusterinstallation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// pair is a cluster in which a ClusterInstallation and its Mattermost are carried out, each
// by a controller that does one thing at a time, and sees the other resource as it was
// some time ago.
type pair struct {
	*cluster
	mm *v1beta1.Mattermost
	// past are the states that a resource had, of which the other controller may see one.
	pastCI []*v1alpha1.ClusterInstallation
	pastMM []*v1beta1.Mattermost
	// seenCI and seenMM are what was last seen: a cache does not go back.
	seenCI, seenMM int
	// owners of Secrets that were generated.
	owners map[string]types.UID
	count  int // Of the versions that there were,
	tried  int // and of the steps.
	older  pass
	// dice are thrown for what happens next: what rapid draws is mostly small.
	dice    *rand.Rand
	newer   pass
	ciGone  bool
	deleted bool // A Mattermost was deleted by hand.
	// images are those that were seen at the Deployment.
	images map[string]bool
}

// pass is one that is under way.
type pass struct {
	steps   []plan.Step
	done    plan.Outcome
	failed  map[string]bool
	report  func(plan.Outcome)
	running bool
}

func newPair(stored *v1alpha1.ClusterInstallation) *pair {
	p := &pair{cluster: newCluster(stored), owners: map[string]types.UID{}, images: map[string]bool{}}
	p.touchCI()
	return p
}

func (p *pair) version() string { p.count++; return fmt.Sprint(p.count) }

func (p *pair) touchCI() {
	p.ci.ResourceVersion = p.version()
	p.pastCI = append(p.pastCI, p.ci.DeepCopy())
}

func (p *pair) touchMM() {
	if p.mm == nil {
		p.pastMM = append(p.pastMM, nil)
		return
	}
	p.mm.ResourceVersion = p.version()
	p.pastMM = append(p.pastMM, p.mm.DeepCopy())
}

// controllerOf is the UID of who owns an object.
func (p *pair) controllerOf(ref plan.Ref) types.UID {
	if ref.Kind == "Secret" {
		return p.owners[ref.Name]
	}
	if p.objects[ref] == nil {
		return ""
	}
	if owners := p.objects[ref].GetOwnerReferences(); len(owners) > 0 {
		return owners[0].UID
	}
	return ""
}

func (p *pair) live() []inventory.Live {
	var all []inventory.Live
	for ref := range p.objects {
		all = append(all, inventory.Live{Ref: ref, UID: types.UID(ref.String()), Managed: p.managed(ref), Controller: p.controllerOf(ref)})
	}
	for name := range p.owners {
		ref := plan.Ref{Kind: "Secret", Namespace: "ns", Name: name}
		all = append(all, inventory.Live{Ref: ref, UID: types.UID(ref.String()), Managed: p.managed(ref), Controller: p.owners[name]})
	}
	slices.SortFunc(all, func(a, b inventory.Live) int {
		return slices.Compare([]string{a.Ref.Group, a.Ref.String()}, []string{b.Ref.Group, b.Ref.String()})
	})
	return all
}

// fill adds what there is of the installation to a snapshot of one of the resources.
func (p *pair) fill(s *installation.Snapshot) {
	s.Live = p.live()
	mine := func(ref plan.Ref) bool {
		owner := p.controllerOf(ref)
		return p.objects[ref] != nil && owner != "" && (owner == s.Mattermost.UID || owner == installation.PredecessorOf(*s))
	}
	for ref, object := range p.objects {
		if ref.Kind != "Job" || !mine(ref) {
			continue
		}
		job := batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: ref.Name, UID: types.UID(ref.String()), Labels: object.GetLabels()}}
		if p.jobsDone[ref.Name] {
			job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
		}
		s.Jobs = append(s.Jobs, job)
	}
	if ref := plan.RefOf(deploymentKind, "ns", "chat"); mine(ref) {
		s.Deployment, s.ReplicaSets = p.pods(p.objects[ref])
	}
	if ref := plan.RefOf(serviceKind, "ns", "chat"); mine(ref) {
		s.Service = &corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{installation.SelectedBy: "chat"}, ClusterIP: corev1.ClusterIPNone}}
	}
	for _, c := range installation.Companions(s.Mattermost) {
		if object := p.objects[c.Ref]; object != nil {
			if s.Companions == nil {
				s.Companions = map[plan.Ref]*unstructured.Unstructured{}
			}
			s.Companions[c.Ref] = object
		}
	}
}

// begin has the older controller, or the newer one, look and decide.
func (p *pair) begin(older bool) {
	if older {
		if p.ciGone || p.older.running {
			return
		}
		p.seenMM += p.dice.IntN(len(p.pastMM) - p.seenMM + 1)
		s := observed(p.ci.DeepCopy(), maps.Clone(p.secrets))
		if p.seenMM > 0 && p.pastMM[p.seenMM-1] != nil {
			s.Mattermost = p.pastMM[p.seenMM-1].DeepCopy()
		}
		for i := range s.Views {
			s.Views[i].Predecessor = s.Predecessor()
			p.fill(&s.Views[i])
		}
		decided := Decide(s, somewhen)
		p.older = pass{running: true, steps: decided.Steps, failed: map[string]bool{}, report: func(o plan.Outcome) {
			if after := Report(s, decided, o, somewhen).Status; !p.ciGone && !equality.Semantic.DeepEqual(after, p.ci.Status) {
				p.ci.Status = after
				p.touchCI()
			}
		}}
		return
	}
	if p.mm == nil || p.newer.running {
		return
	}
	p.seenCI += p.dice.IntN(len(p.pastCI) - p.seenCI)
	s := installation.Snapshot{Mattermost: p.mm.DeepCopy(), Secrets: maps.Clone(p.secrets)}
	if p.seenCI < len(p.pastCI)-1 || !p.ciGone {
		s.Older = p.pastCI[p.seenCI].DeepCopy()
	}
	p.fill(&s)
	decided := installation.Decide(s, somewhen)
	p.newer = pass{running: true, steps: decided.Steps, failed: map[string]bool{}, report: func(o plan.Outcome) {
		after := installation.Report(s, decided, o, somewhen).Status
		if p.mm != nil && p.mm.UID == s.Mattermost.UID && !equality.Semantic.DeepEqual(after, p.mm.Status) {
			p.mm.Status = after
			p.touchMM()
		}
	}}
}

// step carries out the next step of a pass, or ends it.
func (p *pair) step(t *rapid.T, older bool) {
	mine, other := &p.newer, &p.older
	if older {
		mine, other = other, mine
	}
	if !mine.running {
		return
	}
	if mine.done.Applied == nil {
		mine.done.Applied = map[plan.Ref]string{}
	}
	if len(mine.steps) == 0 {
		mine.running = false
		mine.report(mine.done)
		return
	}
	p.tried++
	next := mine.steps[0]
	mine.steps = mine.steps[1:]
	if writes(next) && slices.ContainsFunc(other.steps, writes) {
		t.Fatalf("%s while the other controller has yet to %s; %s", next.Action, other.steps[0].Action, p.state())
	}
	if slices.ContainsFunc(next.Needs, func(need string) bool { return mine.failed[need] }) {
		mine.failed[next.Action.String()] = true
		mine.done.Blocked = append(mine.done.Blocked, next)
		return
	}
	if err := p.carryOut(t, next, &mine.done); err != nil {
		mine.failed[next.Action.String()] = true
		mine.done.Failed = append(mine.done.Failed, plan.Failure{Step: next, Err: err})
	}
	p.check(t, next.Action.String())
}

// writes reports whether a step changes an object of the installation.
func writes(step plan.Step) bool {
	switch step.Action.(type) {
	case Prepare, Retire, WriteBack, installation.WriteBack:
		return false
	default:
		return true
	}
}

// carryOut does one step, as the API server would.
func (p *pair) carryOut(t *rapid.T, step plan.Step, outcome *plan.Outcome) error {
	switch action := step.Action.(type) {
	case Prepare:
		if action.Mattermost.ResourceVersion == "" && p.mm != nil || action.Mattermost.ResourceVersion != "" && (p.mm == nil || p.mm.ResourceVersion != action.Mattermost.ResourceVersion) {
			return fmt.Errorf("conflict")
		}
		made := action.Mattermost.DeepCopy()
		if p.mm == nil {
			made.UID, made.Generation, made.Status = types.UID("mm-"+p.version()), 1, v1beta1.MattermostStatus{}
		} else {
			made.Generation++
		}
		p.mm = made
		p.touchMM()
	case Retire:
		return p.retire(t, action)
	case installation.WriteBack:
		if p.mm == nil || p.mm.ResourceVersion != action.Mattermost.ResourceVersion {
			return fmt.Errorf("conflict")
		}
		p.mm.Spec = action.Mattermost.Spec
		p.mm.Generation++
		p.touchMM()
	case WriteBack:
		if p.ciGone || p.ci.ResourceVersion != action.ClusterInstallation.ResourceVersion {
			return fmt.Errorf("conflict")
		}
		p.do(step, outcome)
		p.touchCI()
		return nil
	case plan.Own:
		if now := p.owners[action.Ref.Name]; now != "" && now != action.From {
			return fmt.Errorf("two controllers")
		}
		p.owners[action.Ref.Name] = action.Owner.UID
	case plan.Disown:
		if p.owners[action.Ref.Name] == action.Owner {
			p.owners[action.Ref.Name] = ""
		}
	case installation.GenerateSecret:
		p.owners[action.Name] = ""
		if len(action.Owners) > 0 {
			p.owners[action.Name] = action.Owners[0].UID
		}
		p.do(step, outcome)
		return nil
	default:
		p.do(step, outcome)
		return nil
	}
	outcome.Done = append(outcome.Done, step)
	return nil
}

func (p *pair) retire(t *rapid.T, action Retire) error {
	for _, live := range p.live() {
		if live.Controller == action.UID {
			return fmt.Errorf("still owns %s", live.Ref)
		}
	}
	switch {
	case action.Ref.Kind == "Mattermost":
		if p.mm == nil || p.mm.ResourceVersion != action.ResourceVersion || p.ci.ResourceVersion != action.HeirVersion {
			return fmt.Errorf("conflict")
		}
		p.mm = nil
		p.touchMM()
	case p.ciGone || p.ci.ResourceVersion != action.ResourceVersion:
		return fmt.Errorf("conflict")
	case p.mm == nil || p.mm.UID != action.HeirUID || p.mm.ResourceVersion != action.HeirVersion:
		return fmt.Errorf("no heir, or another one")
	default:
		if !meta.IsStatusConditionTrue(p.mm.Status.Conditions, v1beta1.ConditionReady) {
			t.Fatalf("the ClusterInstallation goes before the Mattermost is ready: %+v", p.mm.Status)
		}
		p.ciGone = true
		p.pastCI = append(p.pastCI, nil)
	}
	return nil
}
