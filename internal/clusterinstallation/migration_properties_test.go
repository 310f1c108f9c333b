package clusterinstallation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/plan"
)

func (p *pair) state() string {
	text := "ClusterInstallation gone"
	if !p.ciGone {
		text = fmt.Sprintf("ClusterInstallation migrate %v, %s, %+v", p.ci.Spec.Migrate, p.ci.Status.State, p.ci.Status.Migration)
	}
	if p.mm != nil {
		text += fmt.Sprintf("; Mattermost %s %s, %+v, %+v", p.mm.UID, p.mm.Status.State, p.mm.Status.MigratedFrom, p.mm.Status.Conditions)
	}
	for _, live := range p.live() {
		text += fmt.Sprintf("; %s of %q", live.Ref, live.Controller)
	}
	return text
}

// check wants what has to be so at every moment once the installation is stable: it is
// there, and nothing is owned by a resource that is not.
func (p *pair) check(t *rapid.T, after string) {
	if !p.deleted {
		for _, ref := range []plan.Ref{plan.RefOf(serviceKind, "ns", "chat"), plan.RefOf(deploymentKind, "ns", "chat"), plan.RefOf(ingressKind, "ns", "chat")} {
			if p.objects[ref] == nil {
				t.Fatalf("after %s there is no %s; %s", after, ref, p.state())
			}
		}
	}
	for _, live := range p.live() {
		switch {
		case live.Controller == "", !p.ciGone && live.Controller == p.ci.UID, p.mm != nil && live.Controller == p.mm.UID:
		default:
			t.Fatalf("after %s the owner of %s is %s, which is not there; %s", after, live.Ref, live.Controller, p.state())
		}
	}
	if d := p.objects[plan.RefOf(deploymentKind, "ns", "chat")]; d != nil {
		template, _ := d.Object["spec"].(map[string]any)["template"]
		p.images[fmt.Sprint(template, d.Object["spec"].(map[string]any)["selector"])] = true
	}
}

// settle lets both controllers go on until nothing happens.
func (p *pair) settle(t *rapid.T) {
	idle := 0 // The first round may end a pass that was begun before.
	for range 60 {
		before := [2]int{p.count, p.tried}
		for _, older := range []bool{true, false} {
			p.seenMM, p.seenCI = len(p.pastMM), len(p.pastCI)-1
			p.begin(older)
			for running := true; running; running = p.older.running && older || p.newer.running && !older {
				p.step(t, older)
			}
		}
		p.rollOut()
		if before != [2]int{p.count, p.tried} {
			idle = 0
		} else if idle++; idle == 2 {
			return
		}
	}
	t.Fatalf("it does not come to rest: %s", p.state())
}

// stablePair is an installation that runs, and is to be migrated.
func stablePair(t *rapid.T) *pair {
	stored := chat(nil)
	if rapid.Bool().Draw(t, "managed stores") {
		stored.Spec.Database, stored.Spec.Minio = v1alpha1.Database{}, v1alpha1.Minio{}
	}
	if rapid.Bool().Draw(t, "data policy Delete") {
		stored.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: "Delete"}
	}
	if rapid.Bool().Draw(t, "hibernated") {
		stored.Spec.Replicas = -1
	}
	p := newPair(stored)
	p.dice = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	p.deleted = true
	p.settle(t)
	if p.ci.Status.State != v1alpha1.Stable {
		t.Fatalf("not stable: %s", p.state())
	}
	p.deleted = false
	p.images = map[string]bool{}
	p.check(t, "the beginning")
	return p
}

func (p *pair) editCI(change func(*v1alpha1.ClusterInstallation)) {
	if !p.ciGone {
		change(p.ci)
		p.ci.Generation++
		p.touchCI()
	}
}

// TestMigration lets both controllers run side by side, each with a view of the other's
// resource that lags, stops them anywhere, and turns the migration on and off: at no
// moment do both change objects, is one owned by who is not there, or is a part of the
// installation missing. In the end one of the two has it all, and the pods are as they
// were.
func TestMigration(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := stablePair(t)
		p.editCI(func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Migrate = true })
		edited, edits := false, rapid.Bool().Draw(t, "edits")
		for range p.dice.IntN(400) {
			switch turn := p.dice.IntN(60); {
			case turn == 0 && p.dice.IntN(2) == 0:
				p.editCI(func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Migrate = !ci.Spec.Migrate })
			case turn == 1:
				p.older = pass{} // It is killed.
			case turn == 2:
				p.newer = pass{}
			case turn == 3:
				p.rollOut()
			case turn == 4:
				manual := p.dice.IntN(2) == 0
				p.editCI(func(ci *v1alpha1.ClusterInstallation) {
					if ci.Annotations == nil {
						ci.Annotations = map[string]string{}
					}
					ci.Annotations[v1alpha1.FinalizeAnnotation] = map[bool]string{true: "Manual", false: "Now"}[manual]
				})
			case turn == 5 && edits:
				edited = true
				version := []string{"1", "2"}[p.dice.IntN(2)]
				if p.mm != nil && p.dice.IntN(2) == 0 {
					p.mm.Spec.Version = version
					p.mm.Generation++
					p.touchMM()
				} else {
					p.editCI(func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Version = version })
				}
			case turn < 25:
				p.begin(turn%2 == 0)
			default:
				p.step(t, turn%2 == 0)
			}
		}
		p.settle(t)
		p.ended(t)
		if !edited && len(p.images) != 1 {
			t.Fatalf("the pods were changed: %v", p.images)
		}
	})
}

// ended wants one of the two to have everything, or to say what it waits for.
func (p *pair) ended(t *rapid.T) {
	owner := types.UID("")
	switch m := p.ci.Status.Migration; {
	case p.ciGone:
		owner = p.mm.UID
		if p.mm.Status.State != v1beta1.Stable || p.mm.Status.MigratedFrom.UID != p.ci.UID {
			t.Fatalf("the Mattermost is not as it should be: %s", p.state())
		}
	case p.ci.Spec.Migrate && m != nil && m.Phase == v1alpha1.MigrationAwaitingFinalization:
		owner = p.mm.UID
	case !p.ci.Spec.Migrate:
		owner = p.ci.UID
		if p.mm != nil || p.ci.Status.State != v1alpha1.Stable || m != nil && m.Phase != v1alpha1.MigrationReverted {
			t.Fatalf("it was not reverted: %s", p.state())
		}
	case m != nil && m.Phase == v1alpha1.MigrationInterrupted && p.deleted:
		owner = p.ci.UID
	default:
		t.Fatalf("it does not come to an end: %s", p.state())
	}
	for _, live := range p.live() {
		if live.Controller != "" && live.Controller != owner {
			t.Fatalf("%s is not handed over: %s", live.Ref, p.state())
		}
	}
}

// TestMattermostDeletedInTheMiddle: the ClusterInstallation makes anew what went with it.
func TestMattermostDeletedInTheMiddle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := stablePair(t)
		p.editCI(func(ci *v1alpha1.ClusterInstallation) {
			ci.Spec.Migrate = true
			ci.Annotations = map[string]string{v1alpha1.FinalizeAnnotation: "Manual"} // With the data retained.
		})
		p.deleted = true
		for range p.dice.IntN(150) {
			older := p.dice.IntN(2) == 0
			p.begin(older)
			p.step(t, older)
		}
		if p.mm == nil {
			return
		}
		uid := p.mm.UID
		p.mm, p.newer = nil, pass{}
		p.touchMM()
		for ref := range p.objects {
			if p.controllerOf(ref) == uid {
				delete(p.objects, ref)
			}
		}
		for name, owner := range p.owners {
			if owner == uid {
				p.owners[name] = ""
			}
		}
		p.settle(t)
		p.ended(t)
		p.editCI(func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Migrate = false })
		p.settle(t)
		p.ended(t)
		p.editCI(func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Migrate, ci.Annotations = true, nil })
		p.settle(t)
		if !p.ciGone {
			t.Fatalf("it cannot be begun anew: %s", p.state())
		}
	})
}

// TestSuperseded: a ClusterInstallation that is made anew after its migration is not
// carried out, until it is told to take the installation back.
func TestSuperseded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := stablePair(t)
		p.editCI(func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Migrate = true })
		p.settle(t)
		if !p.ciGone {
			t.Fatalf("it does not come to an end: %s", p.state())
		}
		spec, annotations := p.ci.Spec, p.ci.Annotations
		spec.Migrate = false
		p.ci, p.ciGone = chat(nil), false
		p.ci.UID, p.ci.Spec, p.ci.Annotations = "another", spec, annotations
		p.touchCI()
		p.settle(t)
		c := conditionOf(p.ci.Status, v1beta1.ConditionStalled)
		if c.Reason != v1beta1.ReasonSuperseded || len(p.ci.Status.Inventory) > 0 || p.mm.Status.State != v1beta1.Stable {
			t.Fatalf("it is not superseded: %+v; %s", c, p.state())
		}
		p.editCI(func(ci *v1alpha1.ClusterInstallation) {
			ci.Annotations = map[string]string{v1alpha1.RevertAnnotation: "true", v1beta1.DataPolicyAnnotation: ci.Annotations[v1beta1.DataPolicyAnnotation]}
		})
		p.settle(t)
		p.ended(t)
		if len(p.images) != 1 {
			t.Fatalf("the pods were changed: %v", p.images)
		}
	})
}

// TestRefused: what cannot become a Mattermost says why, and goes on.
func TestRefused(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		change func(*v1alpha1.ClusterInstallation)
		mm     *v1beta1.Mattermost
		status string
		phase  v1alpha1.MigrationPhase
	}{
		"blue-green": {
			change: func(ci *v1alpha1.ClusterInstallation) { blueGreen("blue")(&ci.Spec) },
			status: "Migration to Mattermost cannot be performed safely: ClusterInstallation resource with BlueGreen enabled cannot be converted to Mattermost resource. Disable BlueGreen to enable migration.",
			phase:  v1alpha1.MigrationRefused,
		},
		"canary": {
			change: func(ci *v1alpha1.ClusterInstallation) {
				ci.Spec.Canary = v1alpha1.Canary{Enable: true, Deployment: v1alpha1.AppDeployment{Image: "i", Version: "2"}}
			},
			status: "Migration to Mattermost cannot be performed safely: ClusterInstallation resource with Canary enabled cannot be converted to Mattermost resource. Disable Canary to enable migration.",
			phase:  v1alpha1.MigrationRefused,
		},
		"another Mattermost": {
			mm:     &v1beta1.Mattermost{},
			status: "Migration to Mattermost cannot be performed safely: Mattermost/chat exists, and was not made from this ClusterInstallation. Delete one of the two, or give one another name.",
			phase:  v1alpha1.MigrationRefused,
		},
		"paused": {
			change: func(ci *v1alpha1.ClusterInstallation) {
				ci.Annotations = map[string]string{v1beta1.PausedAnnotation: "true"}
			},
			status: "The migration begins when the installation is no longer paused.",
			phase:  v1alpha1.MigrationWaiting,
		},
		"not stable": {
			status: "The migration begins when the installation is stable.",
			phase:  v1alpha1.MigrationWaiting,
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ci := chat(func(spec *v1alpha1.ClusterInstallationSpec) { spec.Migrate = true })
			if c.change != nil {
				c.change(ci)
			}
			s := observed(ci, facts())
			if s.Mattermost = c.mm; c.mm != nil {
				c.mm.Name = "chat"
			}
			p := Decide(s, somewhen)
			m := Report(s, p, plan.Outcome{}, somewhen).Status.Migration
			if m == nil || m.Status != c.status || m.Phase != c.phase {
				t.Errorf("migration: %+v", m)
			}
			if title != "paused" && !slices.ContainsFunc(p.Steps, writes) {
				t.Error("the installation does not go on")
			}
		})
	}
}

// TestConflictIsNotTold: if the resource that is to stay was changed since it was looked at,
// the other is not deleted in this pass, and that is nobody's concern.
func TestConflictIsNotTold(t *testing.T) {
	t.Parallel()
	s := observed(chat(nil), facts())
	s.exists("chat", "i:1", true)
	decided := Decide(s, somewhen)
	retire := plan.Step{Action: Retire{Ref: resourceRef("Mattermost", "ns", "chat")}}
	quiet := Report(s, decided, plan.Outcome{}, somewhen)
	for title, c := range map[string]struct {
		err  error
		told bool
	}{
		"a conflict":    {apierrors.NewConflict(schema.GroupResource{Resource: "mattermosts"}, "chat", errors.New("it was changed")), false},
		"another error": {errors.New("it is still an owner of Secret/db"), true},
	} {
		after := Report(s, decided, plan.Outcome{Failed: []plan.Failure{{Step: retire, Err: c.err}}}, somewhen)
		if told := !reflect.DeepEqual(quiet, after); told != c.told {
			t.Errorf("%s is told: %v; the status is %+v", title, told, after.Status)
		}
	}
}

// TestSuccessor: what tools track their objects by does not come along, what is the
// user's does.
func TestSuccessor(t *testing.T) {
	t.Parallel()
	ci := chat(nil)
	ci.Labels = map[string]string{"team": "a", "app.kubernetes.io/instance": "x", "app.kubernetes.io/managed-by": "Helm", "kustomize.toolkit.fluxcd.io/name": "x"}
	ci.Annotations = map[string]string{
		"own": "a", "kubectl.kubernetes.io/last-applied-configuration": "{}", "argocd.argoproj.io/tracking-id": "x", "meta.helm.sh/release-name": "x",
		v1beta1.ShapeAnnotation: "Standard", v1alpha1.FinalizeAnnotation: "Manual", v1beta1.DataPolicyAnnotation: "Delete",
	}
	mm, lossy := observed(ci, facts()).successor()
	if len(mm.Labels) != 1 || mm.Labels["team"] != "a" {
		t.Errorf("labels %v", mm.Labels)
	}
	if len(mm.Annotations) != 3 || mm.Annotations["own"] != "a" || mm.Annotations[v1beta1.DataPolicyAnnotation] != "Delete" || installation.MigratedFrom(mm) != ci.UID {
		t.Errorf("annotations %v", mm.Annotations)
	}
	if len(lossy) != 5 {
		t.Errorf("lossy: %q", lossy)
	}
}
