package rotation

import (
	"fmt"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// Assessment is how a group stands to what its nodes should run.
type Assessment struct {
	// Target is what they should run.
	Target v1alpha1.Revision
	// Nodes are the machines that are not being ended, and Outdated those of them that a
	// run would replace.
	Nodes, Outdated int32
	// Problem is why nobody can tell what they should run; empty if somebody can.
	Problem string
}

// Assess counts the machines of a group by the rule by which runs replace them.
func Assess(group *v1alpha1.NodeGroup, images map[string]*v1alpha1.NodeImage, c Cloud) Assessment {
	var a Assessment
	a.Target, a.Problem = wanted(group, images, c)
	for i := range c.Machines {
		m := &c.Machines[i]
		if m.State == cloud.Ending {
			continue
		}
		a.Nodes++
		if a.Problem == "" && outdatedBecause(m, a.Target) != "" {
			a.Outdated++
		}
	}
	return a
}

// wanted is what the nodes of a group should run if no run says otherwise.
func wanted(node *v1alpha1.NodeGroup, images map[string]*v1alpha1.NodeImage, c Cloud) (r v1alpha1.Revision, problem string) {
	if node.Spec.Image == "" {
		return v1alpha1.Revision{Name: c.Revision.Template, Template: c.Revision.Template, Images: c.Revision.Images}, ""
	}
	image := images[node.Spec.Image]
	if image == nil {
		return r, fmt.Sprintf("there is no NodeImage %s; there are: %s", node.Spec.Image, orNone(sortedKeys(images)))
	}
	if image.Status.Approved == nil {
		return r, fmt.Sprintf("NodeImage %s has approved no image yet: set its spec.approved to a revision in its status, or its approval to Automatic", node.Spec.Image)
	}
	r.Name = image.Status.Approved.Revision
	for _, one := range image.Status.Approved.Images {
		r.Images = append(r.Images, one.ID)
	}
	return r, ""
}

// Holds says whether a run has begun with a group, and not given it back yet.
func Holds(run *v1alpha1.NodeRotation, group string) bool {
	if run.Status.StartedAt == nil || Finished(run.Status.Phase) {
		return false
	}
	for i := range run.Status.Groups {
		if g := &run.Status.Groups[i]; g.Name == group {
			return !g.Restored
		}
	}
	return false
}
