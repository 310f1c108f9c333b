package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/drain"
)

// index keeps a drain.Cluster up to date by watching the cluster, from when a run needs it
// until none does. What is watched goes straight into the index: the objects themselves
// are not kept. Changes are gathered and applied by whoever makes a decision, so that a
// decision never sees half of one.
type index struct {
	clients kubernetes.Interface
	// changed is called when there is something to apply.
	changed func()

	mu      sync.Mutex
	pending []func(*drain.Cluster)
	filled  map[string]bool
	stop    context.CancelFunc
	// watch counts the times that watching began: what an earlier one still sees is old.
	watch int

	// cluster belongs to the one worker.
	cluster *drain.Cluster
}

func newIndex(config *rest.Config, changed func()) (*index, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return &index{clients: clients, changed: changed, cluster: drain.NewCluster()}, nil
}

// fillTimeout bounds how long a pass waits for the first look at the cluster.
const fillTimeout = 30 * time.Second

// current returns the cluster as it is now, and begins to watch it if nobody did.
func (x *index) current(ctx context.Context, run context.Context) (*drain.Cluster, error) {
	x.start(run)
	ctx, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	for {
		all, missing := x.take()
		for _, change := range all {
			change(x.cluster)
		}
		if missing == "" {
			return x.cluster, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the cluster's %s could not be read within %s", missing, fillTimeout)
		case <-time.After(fillPoll):
		}
	}
}

// fillPoll is how often to look whether the first look is complete; it takes as long as
// the lists of a large cluster do.
const fillPoll = 20 * time.Millisecond

func (x *index) take() (all []func(*drain.Cluster), missing string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	all, x.pending = x.pending, nil
	for name, filled := range x.filled {
		if !filled {
			missing = name
		}
	}
	return all, missing
}

// apply changes the index before the next decision.
func (x *index) apply(change func(*drain.Cluster)) {
	x.mu.Lock()
	x.pending = append(x.pending, change)
	x.mu.Unlock()
	x.changed()
}

// seen is apply for what a watch saw, unless it has ended.
func (x *index) seen(watch int, change func(*drain.Cluster)) {
	x.mu.Lock()
	current := x.stop != nil && x.watch == watch
	if current {
		x.pending = append(x.pending, change)
	}
	x.mu.Unlock()
	if current {
		x.changed()
	}
}

// sleep ends the watches, and forgets what was known.
func (x *index) sleep() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stop != nil {
		x.stop()
		x.stop, x.filled, x.pending, x.cluster = nil, nil, nil, drain.NewCluster()
	}
}

func (x *index) start(run context.Context) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stop != nil {
		return
	}
	var ctx context.Context
	ctx, x.stop = context.WithCancel(run)
	x.filled = map[string]bool{}
	x.watch++
	core, apps := x.clients.CoreV1().RESTClient(), x.clients.AppsV1().RESTClient()
	follow(ctx, x, core, "pods", &corev1.Pod{}, func(c *drain.Cluster, p *corev1.Pod) func(*drain.Cluster) {
		c.SetPod(p)
		uid := p.UID
		return func(c *drain.Cluster) { c.DeletePod(uid) }
	})
	follow(ctx, x, core, "nodes", &corev1.Node{}, func(c *drain.Cluster, n *corev1.Node) func(*drain.Cluster) {
		c.SetNode(n)
		name := n.Name
		return func(c *drain.Cluster) { c.DeleteNode(name) }
	})
	follow(ctx, x, x.clients.PolicyV1().RESTClient(), "poddisruptionbudgets", &policyv1.PodDisruptionBudget{}, func(c *drain.Cluster, b *policyv1.PodDisruptionBudget) func(*drain.Cluster) {
		if err := c.SetBudget(b); err != nil {
			ctrl.LoggerFrom(ctx).Info("Budget cannot be read", "PodDisruptionBudget", client.ObjectKeyFromObject(b).String(), "reason", err.Error())
		}
		namespace, name := b.Namespace, b.Name
		return func(c *drain.Cluster) { c.DeleteBudget(namespace, name) }
	})
	follow(ctx, x, apps, "replicasets", &appsv1.ReplicaSet{}, func(c *drain.Cluster, w *appsv1.ReplicaSet) func(*drain.Cluster) {
		return setWorkload(c, w, "ReplicaSet", w.Spec.Replicas)
	})
	follow(ctx, x, apps, "statefulsets", &appsv1.StatefulSet{}, func(c *drain.Cluster, w *appsv1.StatefulSet) func(*drain.Cluster) {
		return setWorkload(c, w, "StatefulSet", w.Spec.Replicas)
	})
	follow(ctx, x, apps, "deployments", &appsv1.Deployment{}, func(c *drain.Cluster, w *appsv1.Deployment) func(*drain.Cluster) {
		return setWorkload(c, w, "Deployment", w.Spec.Replicas)
	})
	follow(ctx, x, core, "replicationcontrollers", &corev1.ReplicationController{}, func(c *drain.Cluster, w *corev1.ReplicationController) func(*drain.Cluster) {
		return setWorkload(c, w, "ReplicationController", w.Spec.Replicas)
	})
	follow(ctx, x, x.clients.AutoscalingV2().RESTClient(), "horizontalpodautoscalers", &autoscalingv2.HorizontalPodAutoscaler{}, setAutoscaler)
	follow(ctx, x, core, "persistentvolumes", &corev1.PersistentVolume{}, setVolume)
	follow(ctx, x, x.clients.StorageV1().RESTClient(), "volumeattachments", &storagev1.VolumeAttachment{}, setAttachment)
}

func setWorkload(c *drain.Cluster, object metav1.Object, kind string, replicas *int32) func(*drain.Cluster) {
	w := drain.Workload{Owner: drain.Owner{Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName()}, Desired: 1}
	if replicas != nil {
		w.Desired = *replicas
	}
	if parent := metav1.GetControllerOf(object); parent != nil {
		w.Parent = drain.Owner{Kind: parent.Kind, Namespace: object.GetNamespace(), Name: parent.Name}
	}
	c.SetWorkload(w)
	return func(c *drain.Cluster) { c.DeleteWorkload(w.Owner) }
}

func setAutoscaler(c *drain.Cluster, hpa *autoscalingv2.HorizontalPodAutoscaler) func(*drain.Cluster) {
	target := drain.Owner{Kind: hpa.Spec.ScaleTargetRef.Kind, Namespace: hpa.Namespace, Name: hpa.Spec.ScaleTargetRef.Name}
	least := int32(1)
	if hpa.Spec.MinReplicas != nil {
		least = *hpa.Spec.MinReplicas
	}
	c.SetAutoscaler(target, drain.Autoscaler{Name: hpa.Name, Min: least})
	return func(c *drain.Cluster) { c.DeleteAutoscaler(target) }
}

func setAttachment(c *drain.Cluster, a *storagev1.VolumeAttachment) func(*drain.Cluster) {
	name, node := a.Name, a.Spec.NodeName
	c.DeleteAttachment(name, node)
	if a.Spec.Source.PersistentVolumeName != nil && a.Status.Attached {
		c.SetAttachment(name, node, *a.Spec.Source.PersistentVolumeName)
	}
	return func(c *drain.Cluster) { c.DeleteAttachment(name, node) }
}

// setVolume reads where a volume is from its node affinity, as all drivers write it.
func setVolume(c *drain.Cluster, pv *corev1.PersistentVolume) func(*drain.Cluster) {
	claim := pv.Spec.ClaimRef
	if claim == nil {
		return func(*drain.Cluster) {}
	}
	v := drain.Volume{Name: pv.Name}
	if pv.Spec.NodeAffinity != nil && pv.Spec.NodeAffinity.Required != nil {
		for _, term := range pv.Spec.NodeAffinity.Required.NodeSelectorTerms {
			for _, e := range term.MatchExpressions {
				if e.Operator != corev1.NodeSelectorOpIn {
					continue
				}
				switch e.Key {
				case corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaZone, "topology.ebs.csi.aws.com/zone", "topology.gke.io/zone", "topology.disk.csi.azure.com/zone":
					v.Zones = append(v.Zones, e.Values...)
				case corev1.LabelHostname:
					v.Nodes = append(v.Nodes, e.Values...)
				}
			}
		}
	}
	namespace, name := claim.Namespace, claim.Name
	c.SetVolume(namespace, name, v)
	return func(c *drain.Cluster) { c.DeleteVolume(namespace, name) }
}

// feed is where a reflector puts what it sees.
type feed[O client.Object] struct {
	x        *index
	watch    int
	resource string
	set      func(*drain.Cluster, O) func(*drain.Cluster)
	// undo takes an object out of the index again, by its key. It is touched only while a
	// change is applied, by the one worker.
	undo map[string]func(*drain.Cluster)
}

func follow[O client.Object](ctx context.Context, x *index, from rest.Interface, resource string, kind O, set func(*drain.Cluster, O) func(*drain.Cluster)) {
	f := &feed[O]{x: x, watch: x.watch, resource: resource, set: set, undo: map[string]func(*drain.Cluster){}}
	x.filled[resource] = false
	r := cache.NewReflectorWithOptions(cache.NewListWatchFromClient(from, resource, metav1.NamespaceAll, fields.Everything()), kind, f, cache.ReflectorOptions{Name: "rotation " + resource})
	go r.RunWithContext(ctx)
}

func (f *feed[O]) put(c *drain.Cluster, object O) {
	f.undo[string(object.GetUID())] = f.set(c, object)
}

func (f *feed[O]) Add(item any) error { return f.Update(item) }
func (f *feed[O]) Update(item any) error {
	object, ok := item.(O)
	if !ok {
		return fmt.Errorf("%s: unexpected %T", f.resource, item)
	}
	f.x.seen(f.watch, func(c *drain.Cluster) { f.put(c, object) })
	return nil
}

func (f *feed[O]) Delete(item any) error {
	object, ok := item.(O)
	if !ok {
		return fmt.Errorf("%s: unexpected %T", f.resource, item)
	}
	uid := string(object.GetUID())
	f.x.seen(f.watch, func(c *drain.Cluster) { f.remove(c, uid) })
	return nil
}

func (f *feed[O]) remove(c *drain.Cluster, uid string) {
	if undo := f.undo[uid]; undo != nil {
		undo(c)
		delete(f.undo, uid)
	}
}

// Replace is the first look, and one after a watch was lost for too long.
func (f *feed[O]) Replace(items []any, _ string) error {
	f.x.seen(f.watch, func(c *drain.Cluster) {
		gone := f.undo
		f.undo = map[string]func(*drain.Cluster){}
		for _, item := range items {
			if object, ok := item.(O); ok {
				delete(gone, string(object.GetUID()))
			}
		}
		for _, undo := range gone {
			undo(c)
		}
		for _, item := range items {
			if object, ok := item.(O); ok {
				f.put(c, object)
			}
		}
	})
	f.x.mu.Lock()
	defer f.x.mu.Unlock()
	if f.x.stop != nil && f.x.watch == f.watch {
		f.x.filled[f.resource] = true
	}
	return nil
}

// Resync does nothing: there is nothing to compare.
func (f *feed[O]) Resync() error { return nil }
