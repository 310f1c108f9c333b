// Package virtual is a cluster and its cloud in virtual time, in which the decisions of
// package rotation are carried out: to measure how long a rotation takes, to predict one,
// and to look for a moment in which a crash or a fault does harm. It watches over what may
// never happen by itself.
package virtual

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/rotation"
)

// World is everything there is.
type World struct {
	Now time.Time
	// Boot is how long a machine takes from its launch to a Ready node, PodReady a pod from
	// its node to Ready, and PodEnd one from being asked to go to being gone.
	Boot, PodReady, PodEnd time.Duration
	// Fault, if set, is asked before and after each action of the controller; an error
	// before is one of the call, and one after is a crash.
	Fault func(action string, after bool) error
	// Describe is for how long the controller keeps what a provider said of a group, unless it
	// asks the provider for something meanwhile; 0 for not at all.
	Describe time.Duration
	// Stale, if set, says whether the controller sees a group as it last did.
	Stale func() bool
	// Observe, if set, is what a check of a gate sees, by the gate's name.
	Observe func(gate string) gate.Observation
	// ControlPlane says what is wrong with the API servers; empty if nothing is.
	ControlPlane string
	// Told are the events of which somebody was told.
	Told []string
	// Violations are what should never have happened.
	Violations []string
	// Evictions counts how often pods were asked to go, Passes decisions, and Actions what
	// was carried out.
	Evictions, Passes, Actions int
	// Emptied is when the last machine was told to end.
	Emptied time.Time
	// Jitter is by how much boots and pods differ at most, and BootSpread by how much boots
	// do besides.
	Jitter, BootSpread time.Duration
	// Pull is how long a node takes to pull an image, which is part of PodReady; a pod whose
	// image is there is Ready that much sooner.
	Pull time.Duration
	// Decided, if set, is told how long each decision took in real time.
	Decided func(time.Duration)
	views   *rotation.Views
	listed  []v1alpha1.NodeReplacement // by the last Snapshot
	// Compare looks whether what saves a decision time changes it.
	Compare bool

	Cluster *drain.Cluster
	Run     *v1alpha1.NodeRotation
	Records map[string]*v1alpha1.NodeReplacement
	Groups  map[string]*v1alpha1.NodeGroup
	Fleet   map[string]*Group

	others  map[string]others // what others did to a node, by its name
	meddled time.Time         // when others last did something
	events  events
	number  int
	nodes   map[string]*corev1.Node
	pods    map[types.UID]*corev1.Pod
	sets    map[string]*Set
	pending []types.UID
	free    map[string]*[3]int64       // CPU, memory, pods
	images  map[string]map[string]bool // that nodes have
	pulls   map[types.UID]*corev1.Pod  // that pull images
}

// Set is a ReplicaSet with its budget.
type Set struct {
	// Namespace is apps without one.
	Namespace, Name string
	// Image of its pods; its name without one.
	Image    string
	Replicas int
	CPU      int64 // thousandths
	// Never makes its new pods never Ready, as a bad image does.
	Never bool
	// Unavailable and Available are the budget's; both negative for none.
	Unavailable, Available int

	original int // replicas
	pods     map[types.UID]*corev1.Pod
	// alike is what the pods have in common. They share it, since a world may have very many.
	alike *corev1.Pod
}

// New returns an empty world.
func New(start time.Time) *World {
	return &World{Now: start, Boot: 90 * time.Second, PodReady: 30 * time.Second, PodEnd: 10 * time.Second, Cluster: drain.NewCluster(), views: rotation.NewViews(),
		Records: map[string]*v1alpha1.NodeReplacement{}, Groups: map[string]*v1alpha1.NodeGroup{}, Fleet: map[string]*Group{},
		nodes: map[string]*corev1.Node{}, pods: map[types.UID]*corev1.Pod{}, sets: map[string]*Set{}, free: map[string]*[3]int64{}, images: map[string]map[string]bool{}, pulls: map[types.UID]*corev1.Pod{}, others: map[string]others{}}
}

type event struct {
	at    time.Time
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if !e[i].at.Equal(e[j].at) {
		return e[i].at.Before(e[j].at)
	}
	return e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// after does something later.
func (w *World) after(d time.Duration, do func()) {
	w.number++
	heap.Push(&w.events, event{w.Now.Add(d), w.number, do})
}

// id returns a new name, in the order in which they are asked for.
func (w *World) id(prefix string) string {
	w.number++
	return fmt.Sprintf("%s%06d", prefix, w.number)
}

// vary makes a time one of those that things take.
func (w *World) vary(d, spread time.Duration) time.Duration {
	if spread > 0 {
		w.number++
		d += time.Duration(w.number) * 7919 * time.Millisecond % spread
	}
	return d
}

func (w *World) violate(format string, args ...any) {
	w.Violations = append(w.Violations, w.Now.Format(time.TimeOnly)+" "+fmt.Sprintf(format, args...))
}

// AddSet makes a workload; its pods are put on nodes by the next Settle.
func (w *World) AddSet(s Set) {
	s.original, s.Namespace, s.Image = s.Replicas, cmp.Or(s.Namespace, "apps"), cmp.Or(s.Image, s.Name)
	s.pods = map[types.UID]*corev1.Pod{}
	w.sets[s.Name] = &s
	w.setWorkload(&s)
	for range s.Replicas {
		w.makePod(&s, "")
	}
	w.count(&s)
}

// setWorkload tells the index of a ReplicaSet and the Deployment of the same name.
func (w *World) setWorkload(s *Set) {
	deployment := drain.Owner{Kind: "Deployment", Namespace: s.Namespace, Name: s.Name}
	w.Cluster.SetWorkload(drain.Workload{Owner: deployment, Desired: int32(s.Replicas)})
	w.Cluster.SetWorkload(drain.Workload{Owner: drain.Owner{Kind: "ReplicaSet", Namespace: s.Namespace, Name: s.Name}, Desired: int32(s.Replicas), Parent: deployment})
}

// Place puts a Ready pod of a workload on a node, and counts it among its replicas.
func (w *World) Place(set, node string) {
	s := w.sets[set]
	s.Replicas++
	s.original++
	w.setWorkload(s)
	p := w.makePod(s, node)
	w.readyPod(p, s)
	w.count(s)
}

func (w *World) makePod(s *Set, node string) *corev1.Pod {
	name := w.id(s.Name + "-")
	if s.alike == nil {
		s.alike = &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Labels: map[string]string{"app": s.Name}, OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: s.Name, Controller: new(true)}}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: s.Image, Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: *resource.NewMilliQuantity(s.CPU, resource.DecimalSI),
			}}}}, TerminationGracePeriodSeconds: new(int64(30))},
			Status: corev1.PodStatus{Phase: corev1.PodPending},
		}
	}
	alike := *s.alike
	p := &alike
	p.Name, p.UID, p.CreationTimestamp = name, types.UID(name), metav1.NewTime(w.Now)
	s.pods[p.UID], w.pods[p.UID] = p, p
	if node != "" {
		w.bind(p, node)
	} else {
		w.pending = append(w.pending, p.UID)
	}
	w.Cluster.SetPod(p)
	return p
}

func (w *World) bind(p *corev1.Pod, node string) {
	p.Spec.NodeName = node
	room := w.free[node]
	room[0] -= w.sets[p.Labels["app"]].CPU
	room[2]--
}

func (w *World) readyPod(p *corev1.Pod, s *Set) {
	if w.pods[p.UID] == nil || p.DeletionTimestamp != nil {
		return
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.Now)}}
	w.Cluster.SetPod(p)
	w.count(s)
}

// schedule puts pods on nodes: such as take them, have room, are not outdated if others
// are not, and are the emptiest.
func (w *World) schedule() {
	if len(w.pending) == 0 {
		return
	}
	var left []types.UID
	nodes := w.Cluster.Nodes()
	for _, uid := range w.pending {
		p := w.pods[uid]
		if p == nil || p.DeletionTimestamp != nil {
			continue
		}
		s := w.sets[p.Labels["app"]]
		node := w.choose(nodes, s)
		if node == "" {
			left = append(left, uid)
			continue
		}
		w.bind(p, node)
		w.Cluster.SetPod(p)
		if !s.Never {
			w.after(w.vary(w.PodReady-w.pulled(node, s), w.Jitter), func() { w.readyPod(p, s) })
		}
	}
	w.pending = left
}

func (w *World) choose(nodes []*drain.Node, s *Set) string {
	best := ""
	var most int64
	outdated := true
	for _, n := range nodes {
		if n.Cordoned || !n.Ready() {
			continue
		}
		room := w.free[n.Name]
		if room[0] < s.CPU || room[2] < 1 {
			continue
		}
		old := n.Outdated
		if best == "" || outdated && !old || outdated == old && room[0] > most {
			best, most, outdated = n.Name, room[0], old
		}
	}
	return best
}

func ready(n *corev1.Node) bool {
	return len(n.Status.Conditions) > 0 && n.Status.Conditions[0].Status == corev1.ConditionTrue
}

// count brings a workload's budget up to date, and watches over it.
func (w *World) count(s *Set) {
	if s.Unavailable < 0 && s.Available < 0 {
		return
	}
	healthy := s.healthy()
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": s.Name}}}}
	want := s.Replicas - s.Unavailable
	if s.Available >= 0 {
		want, b.Spec.MinAvailable = s.Available, new(intstr.FromInt32(int32(s.Available)))
	} else {
		b.Spec.MaxUnavailable = new(intstr.FromInt32(int32(s.Unavailable)))
	}
	b.Status = policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: int32(max(healthy-want, 0)), ExpectedPods: int32(s.Replicas), CurrentHealthy: int32(healthy), DesiredHealthy: int32(want)}
	if err := w.Cluster.SetBudget(b); err != nil {
		w.violate("%v", err)
	}
}

// evict is what the API server does.
func (w *World) evict(uid types.UID, force bool) error {
	p := w.pods[uid]
	if p == nil || p.DeletionTimestamp != nil {
		return nil
	}
	s := w.sets[p.Labels["app"]]
	isReady := len(p.Status.Conditions) > 0
	if isReady && !force && (s.Unavailable >= 0 || s.Available >= 0) {
		healthy, want := s.healthy(), s.Replicas-s.Unavailable
		if s.Available >= 0 {
			want = s.Available
		}
		if healthy <= want {
			return fmt.Errorf("evict %s: %w", p.Name, errBudget)
		}
	}
	if isReady && !force && s.Unavailable < 0 && s.Available < 0 && s.healthy()-1 < s.Replicas-max(s.Replicas/4, 1) {
		w.violate("Pod %s is evicted with %d healthy of %d", p.Name, s.healthy(), s.Replicas)
	}
	w.Evictions++
	w.endPod(p, s)
	return nil
}

// endPod is what happens to a pod that is asked to go.
func (w *World) endPod(p *corev1.Pod, s *Set) {
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = new(metav1.NewTime(w.Now.Add(30*time.Second))), new(int64(30))
	w.Cluster.SetPod(p)
	if s.alive() < s.Replicas {
		w.makePod(s, "")
	}
	w.after(w.PodEnd, func() { w.removePod(p) })
	w.count(s)
	w.schedule()
}

// alive is how many pods of a workload are not going, and healthy how many of them are Ready.
func (s *Set) alive() (n int) {
	for _, p := range s.pods {
		if p.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}

func (s *Set) healthy() (n int) {
	for _, p := range s.pods {
		if p.DeletionTimestamp == nil && len(p.Status.Conditions) > 0 {
			n++
		}
	}
	return n
}

func (w *World) removePod(p *corev1.Pod) {
	if w.pods[p.UID] == nil {
		return
	}
	s := w.sets[p.Labels["app"]]
	delete(w.pods, p.UID)
	if delete(s.pods, p.UID); s.alive() < s.Replicas { // It was lost with its node.
		w.makePod(s, "")
	}
	if room := w.free[p.Spec.NodeName]; room != nil {
		room[0] += s.CPU
		room[2]++
	}
	w.Cluster.DeletePod(p.UID)
	w.count(s)
	w.schedule()
}

// Next goes to the next thing that happens, at the latest at the time; false if nothing does.
func (w *World) Next(latest time.Time) bool {
	if len(w.events) == 0 || !latest.IsZero() && w.events[0].at.After(latest) {
		if latest.IsZero() {
			return false
		}
		w.Now = latest
		return true
	}
	w.Now = w.events[0].at
	for len(w.events) > 0 && !w.events[0].at.After(w.Now) {
		heap.Pop(&w.events).(event).do()
	}
	return true
}

// Settle lets things happen until nothing more does.
func (w *World) Settle() {
	w.schedule()
	for w.Next(time.Time{}) {
		w.schedule()
	}
}

// Names of nodes, sorted.
func (w *World) Names() []string { return slices.Sorted(maps.Keys(w.nodes)) }

// Pods is how many pods there are.
func (w *World) Pods() int { return len(w.pods) }

func sortedGroups(m map[string]*Group) []*Group {
	return slices.SortedFunc(maps.Values(m), func(a, b *Group) int { return cmp.Compare(a.Name, b.Name) })
}

// Problems are violations as a text; empty if there are none.
func (w *World) Problems() string { return strings.Join(w.Violations, "\n") }
