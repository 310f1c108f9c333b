package clusterinstallation

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/plan"
)

// WriteBack stores the defaulted spec, as users of the Mattermost Operator's API expect.
type WriteBack struct {
	ClusterInstallation *v1alpha1.ClusterInstallation
}

func (w WriteBack) String() string {
	return "write defaults to ClusterInstallation/" + w.ClusterInstallation.Name
}

// complete is the action that stores defaults; nil when none are lacking. A spec that
// contradicts itself stays as it is.
func complete(stored, ci *v1alpha1.ClusterInstallation, found []installation.Problem) plan.Action {
	if len(found) > 0 || equality.Semantic.DeepEqual(stored.Spec, ci.Spec) {
		return nil
	}
	return WriteBack{ci}
}

// Decide says what to do next about one installation, and why not more: what is to be
// done about each of its views.
func Decide(s Snapshot, now time.Time) plan.Plan {
	c := s.course()
	var p plan.Plan
	if !c.Stands {
		p, c.Views = s.carryOut(now)
	}
	c = s.settle(c, len(p.Steps))
	if c.Action != nil {
		p.Steps = append(p.Steps, plan.Step{Action: c.Action, Why: c.Why})
	}
	if c.Superseded {
		p.Why = append(p.Why, plan.Note{Subject: "ClusterInstallation/" + s.ClusterInstallation.Name, Reason: v1beta1.ReasonSuperseded, Message: c.Message})
	} else if c.Phase != "" {
		p.Why = append(p.Why, plan.Note{Subject: "ClusterInstallation/" + s.ClusterInstallation.Name, Reason: reasons[c.Phase], Message: strings.TrimSpace(c.Message + " " + c.Error)})
	}
	p.Status = c
	return p
}

// view is what one of the views is seen as, with what is to be done about it.
type view struct {
	installation.Snapshot
	plan plan.Plan
}

// carryOut is what is to be done about each of the views, and about all of them.
func (s Snapshot) carryOut(now time.Time) (all plan.Plan, views []view) {
	migrating := false
	for i, world := range s.worlds() {
		world.Elsewhere = world.Elsewhere || migrating
		p := installation.Decide(world, now)
		views = append(views, view{world, p})
		migrating = migrating || slices.ContainsFunc(p.Steps, func(step plan.Step) bool {
			apply, ok := step.Action.(plan.Apply)
			return ok && plan.RefTo(apply.Object).GroupKind() == jobKind
		})
		all.Steps = append(all.Steps, p.Steps...)
		for _, note := range p.Why {
			note.Subject, note.Message = inOurWords(note.Subject), inOurWords(note.Message)
			if world.Set != nil && note.Subject == "ClusterInstallation/"+s.ClusterInstallation.Name {
				note.Subject = "Deployment/" + world.Set.Name
			}
			if i == 0 || !slices.ContainsFunc(all.Why, func(n plan.Note) bool { return n.Reason == note.Reason && n.Message == note.Message }) {
				all.Why = append(all.Why, note)
			}
		}
		if p.Wake > 0 && (all.Wake == 0 || p.Wake < all.Wake) {
			all.Wake = p.Wake
		}
	}
	return all, views
}
