package drain

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
)

// Owner is who controls a pod; empty for a bare one.
type Owner struct{ Kind, Namespace, Name string }

// String is Kind/namespace/name.
func (o Owner) String() string {
	if o == (Owner{}) {
		return ""
	}
	return o.Kind + "/" + o.Namespace + "/" + o.Name
}

// OwnerOf reads what String wrote.
func OwnerOf(text string) Owner {
	kind, rest, _ := strings.Cut(text, "/")
	namespace, name, ok := strings.Cut(rest, "/")
	if !ok {
		return Owner{}
	}
	return Owner{Kind: kind, Namespace: namespace, Name: name}
}

// Pod is what is known of a pod.
type Pod struct {
	UID                   types.UID
	Namespace, Name, Node string
	Owner                 Owner
	// OwnedBy is Owner as text.
	OwnedBy string
	Labels  labels.Set
	// Images are those of its containers, without repetition.
	Images []string
	// PrePull says that it does nothing but pull images, for a run, and Pulled that there is
	// nothing left to wait for.
	PrePull, Pulled bool
	// Mirror pods and those of DaemonSets belong to their node and do not leave it.
	Mirror, Daemon bool
	// Terminal pods have ended, and Pending ones have not begun.
	Terminal, Pending, Ready bool
	CreatedAt                time.Time
	// ReadyAt is when it became Ready, or ceased to be.
	ReadyAt time.Time
	// Grace is the pod's own grace period, in seconds.
	Grace int64
	// DeletedAt is when the pod was asked to go, and GoneBy when its grace period is over;
	// zero for one that stays.
	DeletedAt, GoneBy time.Time
	// Assumed says that the pod was asked to go and is not yet seen to.
	Assumed bool
	// Budgets that cover it, sorted by name.
	Budgets []*Budget
	// Shape is what it needs of a node.
	Shape *Shape

	claims []string
}

// Leaving says whether the pod has been asked to go.
func (p *Pod) Leaving() bool { return p.Assumed || !p.DeletedAt.IsZero() }

// Awaited is the owner that has to have another pod Ready when this one has left, as text;
// empty for one that is not Ready, since then that may never be.
func (p *Pod) Awaited() string {
	if !p.Ready {
		return ""
	}
	return p.OwnedBy
}

// Key is namespace/name.
func (p *Pod) Key() string { return p.Namespace + "/" + p.Name }

// SetPod takes in a pod as it is now.
func (c *Cluster) SetPod(pod *corev1.Pod) {
	was := c.pods[pod.UID]
	p := &Pod{
		UID: pod.UID, Namespace: pod.Namespace, Name: pod.Name, Node: pod.Spec.NodeName, Labels: pod.Labels,
		Terminal: pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed, Pending: pod.Status.Phase == corev1.PodPending || pod.Status.Phase == "",
		CreatedAt: pod.CreationTimestamp.Time, Grace: corev1.DefaultTerminationGracePeriodSeconds,
	}
	p.read(pod)
	c.inherit(p, was, pod)
	if !p.Assumed {
		unassume(was)
	}
	c.forget(was)
	c.pods[p.UID] = p
	at := c.placeOf(p.Node)
	at.pods, at.load = insert(at.pods, p, comparePods), nil
	c.adopt(p)
	if c.inNamespace[p.Namespace] == nil {
		c.inNamespace[p.Namespace] = map[types.UID]*Pod{}
	}
	c.inNamespace[p.Namespace][p.UID] = p
	p.Shape.pods++
	c.count(p, 1)
}

// read takes what a pod says of itself.
func (p *Pod) read(pod *corev1.Pod) {
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		p.Grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	if pod.DeletionTimestamp != nil {
		p.GoneBy, p.DeletedAt = pod.DeletionTimestamp.Time, pod.DeletionTimestamp.Time
		if pod.DeletionGracePeriodSeconds != nil {
			p.DeletedAt = p.GoneBy.Add(-time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
		}
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		p.Owner = Owner{owner.Kind, pod.Namespace, owner.Name}
		p.Daemon = owner.Kind == "DaemonSet"
	}
	if p.PrePull = pod.Labels[v1alpha1.PrePullLabel] != ""; p.PrePull {
		p.Pulled = p.Terminal || pulled(pod)
	}
	_, p.Mirror = pod.Annotations[corev1.MirrorPodAnnotationKey]
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			p.Ready, p.ReadyAt = condition.Status == corev1.ConditionTrue, condition.LastTransitionTime.Time
		}
	}
}

// inherit takes over what was found out of a pod before, or finds it out.
func (c *Cluster) inherit(p, was *Pod, pod *corev1.Pod) {
	if was != nil && was.Shape != nil { // What a pod asks for hardly ever changes, and is dear to find out.
		p.Shape, p.claims, p.Images, p.Assumed = was.Shape, was.claims, was.Images, was.Assumed && p.DeletedAt.IsZero()
	} else {
		for _, volume := range pod.Spec.Volumes {
			if volume.PersistentVolumeClaim != nil {
				p.claims = append(p.claims, volume.PersistentVolumeClaim.ClaimName)
			}
		}
		p.Shape, p.Images = c.shapeOf(pod, p.Owner), c.imagesOf(pod)
	}
	if was != nil && maps.Equal(was.Labels, p.Labels) {
		p.Budgets = was.Budgets
	} else {
		p.Budgets = c.covering(p)
	}
}

// imagesOf are a pod's images. Pods that are alike share them: there are few such lists, and
// very many pods.
func (c *Cluster) imagesOf(pod *corev1.Pod) []string {
	var all []string
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if image := containers[i].Image; image != "" && !slices.Contains(all, image) {
				all = append(all, image)
			}
		}
	}
	key := strings.Join(all, " ")
	if known, ok := c.images[key]; ok {
		return known
	}
	c.images[key] = all
	return all
}

// count changes what the pods of a node take of it.
func (c *Cluster) count(p *Pod, sign int64) {
	if p.Terminal || p.Node == "" {
		return
	}
	c.placeOf(p.Node).used.add(p.Shape.Requests, sign)
}

// forget takes a pod out of all orders.
func (c *Cluster) forget(p *Pod) {
	if p == nil {
		return
	}
	c.count(p, -1)
	at := c.placeOf(p.Node)
	at.pods, at.load = remove(at.pods, p, comparePods), nil
	c.tidy(p.Node)
	c.disown(p)
	if delete(c.inNamespace[p.Namespace], p.UID); len(c.inNamespace[p.Namespace]) == 0 {
		delete(c.inNamespace, p.Namespace)
	}
	p.Shape.pods--
}

// DeletePod forgets a pod.
func (c *Cluster) DeletePod(uid types.UID) {
	p := c.pods[uid]
	if p == nil {
		return
	}
	unassume(p)
	c.forget(p)
	delete(c.pods, uid)
	if p.Shape.pods == 0 {
		delete(c.shapes, p.Shape.key)
	}
}

// SetAssumed takes in that a pod was asked to go, before it is seen to; or, if going is
// false, that it was not after all.
func (c *Cluster) SetAssumed(uid types.UID, going bool) {
	if p := c.pods[uid]; p != nil && p.Assumed != going {
		c.byOwner[p.OwnedBy].count(p, -1)
		p.Assumed = going
		c.byOwner[p.OwnedBy].count(p, 1)
		c.touch(p.Node)
		if !going {
			unassume(p)
			return
		}
		for _, b := range p.Budgets {
			if p.Ready { // The API server takes others without counting them.
				b.assumed[uid] = p.Name
			}
		}
	}
}

// unassume takes a pod out of what its budgets assume to be going.
func unassume(p *Pod) {
	if p == nil {
		return
	}
	for _, b := range p.Budgets {
		delete(b.assumed, p.UID)
	}
}

// localVolume names a volume of the pod that does not leave the node; empty if there is none.
func (c *Cluster) localVolume(p *Pod) string {
	for _, claim := range p.claims {
		if v := c.volumes[p.Namespace+"/"+claim]; len(v.Nodes) > 0 {
			return v.Name
		}
	}
	return ""
}
