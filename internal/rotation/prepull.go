package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// prePull is a PrePull with nothing left open.
type prePull struct {
	images  int
	timeout time.Duration
	secrets []string
}

func resolvePrePull(p *v1alpha1.PrePull) *prePull {
	r := &prePull{images: 10, timeout: 5 * time.Minute, secrets: p.PullSecrets}
	if p.MaxImages > 0 {
		r.images = int(p.MaxImages)
	}
	setSeconds(&r.timeout, p.TimeoutSeconds)
	return r
}

// pulls are the images that new nodes of the group pull: those of most pods that have still
// to move, the first by name among equals.
func (d *decider) pulls(g *group) []string {
	if g.pulls != nil {
		return g.pulls
	}
	count := map[string]int{}
	for _, m := range g.machines {
		if !m.leaving || m.node == nil {
			continue
		}
		for _, p := range d.load(g, m).Movable {
			for _, image := range p.Images {
				count[image]++
			}
		}
	}
	g.pulls = sortedKeys(count)
	slices.SortStableFunc(g.pulls, func(a, b string) int { return cmp.Compare(count[b], count[a]) })
	g.pulls = g.pulls[:min(len(g.pulls), g.strategy.prePull.images)]
	return g.pulls
}

// pulling says that a new node has still to pull images, and until when it may.
func (d *decider) pulling(g *group, m *machine) (until time.Time, ok bool) {
	if g.strategy.prePull == nil || d.ending() || m.outdated != "" || !d.made(m) {
		return until, false
	}
	until = m.node.ReadySince.Add(g.strategy.prePull.timeout)
	if !d.now.Before(until) || len(d.pulls(g)) == 0 {
		return until, false
	}
	p := d.s.Cluster.PrePull(m.node.Name)
	return until, p == nil || !p.Pulled
}

// prePull lets new nodes pull images, and waits for them.
func (d *decider) prePull(g *group) {
	if g.strategy.prePull == nil || !g.rec.Prepared {
		return
	}
	for _, m := range g.machines {
		if m.State != cloud.Running || m.leaving || m.node == nil || !m.node.Ready() || m.node.Cordoned {
			continue
		}
		until, ok := d.pulling(g, m)
		if !ok {
			continue
		}
		images := d.pulls(g)
		if d.s.Cluster.PrePull(m.node.Name) == nil {
			d.step(PrePull{Node: m.node.Name, UID: m.node.UID, Images: images, Secrets: g.strategy.prePull.secrets, Timeout: g.strategy.prePull.timeout}, "pods are going to move to it")
		}
		d.wakeAt(until)
		d.wait(v1alpha1.Wait{Subject: "Node/" + m.node.Name, For: images[0], Reason: v1alpha1.ReasonPulling, Until: new(metav1.NewTime(until)),
			Message: fmt.Sprintf("it pulls %d images before pods move to it", len(images))})
	}
}

// unpull removes the pod that pulled images, and says whether there was none.
func (d *decider) unpull(m *machine) bool {
	p := d.s.Cluster.PrePull(m.node.Name)
	if p == nil {
		return true
	}
	d.step(RemovePod{Namespace: p.Namespace, Name: p.Name, UID: p.UID}, "it has pulled its images")
	return p.Leaving()
}

// PrePull makes a node pull images. It is done when the pod that does has ended, or runs.
type PrePull struct {
	Node string
	// UID of the node.
	UID     types.UID
	Images  []string
	Secrets []string
	Timeout time.Duration
}

func (a PrePull) String() string {
	return "pre-pull to Node/" + a.Node + ": " + strings.Join(a.Images, ", ")
}

// RemovePod deletes a pod that pulled images.
type RemovePod struct {
	Namespace, Name string
	UID             types.UID
}

func (a RemovePod) String() string { return "remove Pod/" + a.Namespace + "/" + a.Name }
