package rotation

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// begin checks what the run needs, and records what it aims at and what it has to restore.
func (d *decider) begin() {
	d.status.Phase = v1alpha1.Pending
	names := slices.Clone(d.s.Run.Spec.Groups)
	if len(names) == 0 {
		names = sortedKeys(d.s.Groups)
	}
	if len(names) == 0 {
		d.invalid("the run", "there are no NodeGroups: make one for each group of machines")
		return
	}
	slices.Sort(names)
	var all []v1alpha1.GroupRotation
	for _, name := range names {
		if rec := d.beginGroup(name); rec != nil {
			all = append(all, *rec)
		}
	}
	if len(d.waits) > 0 {
		d.wake(pollEvery)
		return
	}
	d.status.Groups = all
	if d.s.Run.Spec.DryRun {
		d.dryRun()
		return
	}
	now := metav1.NewTime(d.now)
	d.status.StartedAt, d.status.ProgressedAt, d.status.Phase = &now, &now, v1alpha1.Rotating
}

func (d *decider) invalid(subject, message string) {
	d.wait(v1alpha1.Wait{Subject: subject, Reason: v1alpha1.ReasonInvalidSpec, Message: message})
}

func (d *decider) beginGroup(name string) *v1alpha1.GroupRotation {
	subject := "NodeGroup/" + name
	node := d.s.Groups[name]
	if node == nil {
		d.invalid(subject, fmt.Sprintf("there is no NodeGroup of this name; there are: %s", orNone(sortedKeys(d.s.Groups))))
		return nil
	}
	if other := d.holder(name); other != "" {
		d.wait(v1alpha1.Wait{Subject: subject, For: "NodeRotation/" + other, Reason: v1alpha1.ReasonGroupBusy, Message: "another run has the group: wait for it, or end it"})
		return nil
	}
	c := d.s.Clouds[name]
	if c.Problem != "" {
		d.wait(v1alpha1.Wait{Subject: subject, Reason: v1alpha1.ReasonProviderProblem, Message: c.Problem})
		return nil
	}
	st, err := resolve(d.s.Run.Spec.Strategy, node.Spec.Strategy, node.Spec.Role)
	if err != nil {
		d.invalid(subject, err.Error())
		return nil
	}
	target, problem := d.target(node, c)
	if problem == "" {
		problem = unsupported(d.s.Run.Spec, st, node, c.Capabilities, target, c.Revision)
	}
	if problem != "" {
		d.wait(v1alpha1.Wait{Subject: subject, Reason: v1alpha1.ReasonUnsupported, Message: problem})
		return nil
	}
	rec := &v1alpha1.GroupRotation{
		Name: name, UID: node.UID, Target: target, Size: c.Size, Max: c.Max, Wanted: c.Size, Before: c.Size,
		Former: former(c, target), Changed: !applied(target, c.Revision),
	}
	for _, process := range c.Suspendable {
		if !slices.Contains(c.Suspended, process) {
			rec.Suspended = append(rec.Suspended, process)
		}
	}
	return rec
}

// former is what the group can go back to: what it says now, or, if that is the target
// already, what most of the other machines are made from; nil if there is nothing.
func former(c Cloud, target v1alpha1.Revision) *v1alpha1.Revision {
	if !applied(target, c.Revision) {
		return &v1alpha1.Revision{Name: c.Revision.Template, Images: c.Revision.Images, Template: c.Revision.Template}
	}
	type made struct{ template, image string }
	number := map[made]int{}
	var most made
	for i := range c.Machines {
		m := &c.Machines[i]
		if m.Template == "" || outdatedBecause(m, target) == "" {
			continue
		}
		one := made{m.Template, m.Image}
		if number[one]++; number[one] > number[most] || number[one] == number[most] && one.template > most.template {
			most = one
		}
	}
	if most.template == "" {
		return nil
	}
	return &v1alpha1.Revision{Name: most.template, Template: most.template, Images: []string{most.image}}
}

// holder is the run that has the group, or comes before this one; empty if none does.
func (d *decider) holder(name string) string {
	for i := range d.s.Others {
		other := &d.s.Others[i]
		if Finished(other.Status.Phase) || other.Spec.DryRun || other.DeletionTimestamp != nil && other.Status.StartedAt == nil {
			continue
		}
		has := slices.ContainsFunc(other.Status.Groups, func(g v1alpha1.GroupRotation) bool { return g.Name == name && !g.Restored })
		if other.Status.StartedAt != nil && has {
			return other.Name
		}
		wants := len(other.Spec.Groups) == 0 || slices.Contains(other.Spec.Groups, name)
		if other.Status.StartedAt == nil && wants && before(other, d.s.Run) && !d.s.Run.Spec.DryRun {
			return other.Name
		}
	}
	return ""
}

func before(a, b *v1alpha1.NodeRotation) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

// target is what the nodes of a group should run.
func (d *decider) target(node *v1alpha1.NodeGroup, c Cloud) (r v1alpha1.Revision, problem string) {
	if t := d.s.Run.Spec.Target; t != nil {
		if t.TemplateVersion != "" {
			template, _, _ := strings.Cut(c.Revision.Template, ":")
			if strings.Contains(c.Revision.Template, ",") {
				return r, "its machines are made from several templates, of which each has versions of its own: name images in the target"
			}
			return v1alpha1.Revision{Name: "version " + t.TemplateVersion, Template: template + ":" + t.TemplateVersion}, ""
		}
		return v1alpha1.Revision{Name: strings.Join(t.Images, ","), Images: t.Images}, ""
	}
	return wanted(node, d.s.Images, c)
}

// unsupported says what the strategy needs and the provider lacks; empty if it has all.
func unsupported(spec v1alpha1.NodeRotationSpec, st strategy, node *v1alpha1.NodeGroup, can cloud.Capabilities, target v1alpha1.Revision, now cloud.Revision) string {
	surge, err := st.surgeOf(100)
	switch {
	case err != nil:
		return "maxSurge: " + err.Error()
	case surge > 0 && !can.Surge:
		return "its provider cannot make a group larger for a while: set maxSurge to 0 and maxUnavailable to 1 or more"
	case node.Spec.Role == v1alpha1.ControlPlane && !can.ControlPlane:
		return "its provider has no control planes: set role to Worker"
	case target.Template != "" && target.Template != now.Template && !can.TemplateVersions:
		return "its provider has no template versions: name images in the target"
	case target.Template == "" && !can.ApplyImages && !slices.Equal(sorted(slices.Clone(target.Images)), now.Images):
		return "its provider cannot be given images: change its template, and leave out image and target"
	case (st.onFailure == v1alpha1.RollBack || spec.End == v1alpha1.EndRollBack) && !can.RollBack:
		return "its provider cannot go back to a former template: set onFailure to Stop"
	}
	return ""
}

func orNone(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}
