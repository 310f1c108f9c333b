package restore_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/restore"
)

const (
	namespace = "ns"
	backup    = "s3://backups/monday"
	replicas  = 2
)

var start = time.Unix(1_800_000_000, 0)

// state is what the API server has, as far as restores see it.
type state struct {
	installation *v1alpha1.ClusterInstallation
	restores     map[string]*v1alpha1.MattermostRestoreDB
	deployment   appsv1.Deployment
	// ending are pods of Mattermost that were told to end, and still write.
	ending  []string
	cluster *unstructured.Unstructured
	set     *appsv1.StatefulSet
	claims  map[string]corev1.PersistentVolumeClaim
	secrets map[string]bool
}

func (s state) copy() state {
	s.installation, s.cluster, s.set = s.installation.DeepCopy(), s.cluster.DeepCopy(), s.set.DeepCopy()
	s.ending = slices.Clone(s.ending)
	s.restores, s.claims, s.secrets = maps.Clone(s.restores), maps.Clone(s.claims), maps.Clone(s.secrets)
	for name, r := range s.restores {
		s.restores[name] = r.DeepCopy()
	}
	s.deployment = *s.deployment.DeepCopy()
	return s
}

// world is a cluster with one installation, its operators, and restores of it.
type world struct {
	now state
	// past are states that a cache may still show.
	past []state
	uids int
	// lasts is how many moves it takes until pods end.
	lasts int
	time  time.Time
	// retained are the UIDs of claims whose volumes stay.
	retained map[types.UID]bool
	// deleted are the claims that restores deleted.
	deleted map[types.UID]bool
	// contents are what the claims of the first replica hold: the backup from which it was
	// started, or nothing.
	contents   map[types.UID]string
	violations []string
}

func newWorld() *world {
	w := &world{time: start, retained: map[types.UID]bool{}, deleted: map[types.UID]bool{}, contents: map[types.UID]string{}}
	ci := &v1alpha1.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "chat", UID: "installation", Generation: 1}}
	ci.Spec = v1alpha1.ClusterInstallationSpec{
		IngressName: "chat.example.com", Replicas: 2, Database: v1alpha1.Database{Replicas: replicas},
		Minio: v1alpha1.Minio{ExternalURL: "s3.example.com", Secret: "fs"},
	}
	w.now = state{
		installation: ci, restores: map[string]*v1alpha1.MattermostRestoreDB{}, claims: map[string]corev1.PersistentVolumeClaim{},
		secrets: map[string]bool{"backup": true, "chat-mysql-root-password": true},
		cluster: &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}},
		set:     &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: new(int32)}},
	}
	w.now.cluster.SetGroupVersionKind(installation.MySQLKind)
	w.settle()
	return w
}

func (w *world) uid(prefix string) types.UID {
	w.uids++
	return types.UID(fmt.Sprintf("%s-%d", prefix, w.uids))
}

func (w *world) violate(format string, args ...any) {
	w.violations = append(w.violations, fmt.Sprintf(format, args...))
}

func (w *world) my() installation.ManagedMySQL {
	my, _ := restore.MySQL(w.now.installation, nil)
	return my
}

// make adds a restore.
func (w *world) make(name string) *v1alpha1.MattermostRestoreDB {
	r := &v1alpha1.MattermostRestoreDB{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: w.uid("restore"), Generation: 1, CreationTimestamp: metav1.NewTime(w.time.Add(time.Duration(w.uids) * time.Second)),
	}}
	r.Spec = v1alpha1.MattermostRestoreDBSpec{MattermostClusterName: "chat", InitBucketURL: backup, RestoreSecret: "backup"}
	w.now.restores[name] = r
	return r
}

// operate lets the controller of installations, the MySQL operator, and Kubernetes each make
// one move; which of them is drawn.
func (w *world) operate(who int) {
	switch who % 5 {
	case 0:
		w.carryOut()
	case 1:
		w.runDatabase()
	case 2:
		w.runPods()
	case 3:
		w.collect()
	default: // Pods that were told to end take their time.
		if w.lasts--; w.lasts <= 0 {
			w.now.ending = nil
		}
	}
}

// carryOut is what an installation does about restores: it asks the one function that says
// for which of them it stands still.
func (w *world) carryOut() {
	all := clusterinstallation.Snapshot{ClusterInstallation: w.now.installation}
	for _, name := range slices.Sorted(maps.Keys(w.now.restores)) {
		all.Restores = append(all.Restores, *w.now.restores[name])
	}
	holds := all.Restore()
	ci := w.now.installation
	pods, spec := ci.Spec.Replicas, map[string]any{"replicas": int64(ci.Spec.Database.Replicas)}
	ci.Status.Restore = nil
	if holds != nil {
		pods, ci.Status.Restore = 0, &v1alpha1.RestoreReference{Name: holds.Name, UID: holds.UID}
		switch holds.Status.Phase {
		case v1alpha1.RestoreStoppingDatabase, v1alpha1.RestoreDeletingVolumes:
			spec = map[string]any{"replicas": int64(0), "initBucketURL": holds.Status.Run.InitBucketURL}
		case v1alpha1.RestoreStartingDatabase:
			spec["initBucketURL"] = holds.Status.Run.InitBucketURL
		default: // As the spec says.
		}
	}
	if d := &w.now.deployment; d.Spec.Replicas == nil || *d.Spec.Replicas != pods {
		d.Spec.Replicas = &pods
		d.Generation++
	}
	w.now.cluster.Object["spec"] = spec
	ci.Status.State, ci.Status.ObservedGeneration = v1alpha1.Reconciling, ci.Generation
	if d := w.now.deployment; holds == nil && d.Status.Replicas == pods && d.Status.ObservedGeneration == d.Generation {
		ci.Status.State = v1alpha1.Stable
	}
}

// runDatabase makes the StatefulSet follow, and deletes claims that are too many, but for
// the first.
func (w *world) runDatabase() {
	n, _, _ := unstructured.NestedInt64(w.now.cluster.Object, "spec", "replicas")
	url, _, _ := unstructured.NestedString(w.now.cluster.Object, "spec", "initBucketURL")
	set, wanted := w.now.set, int32(n)
	env := []corev1.EnvVar{{Name: "INIT_BUCKET_URI", Value: url}}
	if *set.Spec.Replicas != wanted || len(set.Spec.Template.Spec.InitContainers) == 0 || set.Spec.Template.Spec.InitContainers[0].Env[0].Value != url {
		set.Spec.Replicas, set.Spec.Template.Spec.InitContainers = &wanted, []corev1.Container{{Env: env}}
		set.Generation++
		set.Status.UpdatedReplicas, set.Status.ReadyReplicas = 0, 0
	}
	for i := max(wanted, 1); i < 5; i++ {
		w.remove(fmt.Sprintf("%s%d", w.my().ClaimPrefix, i))
	}
	ready := "False"
	if set.Status.ReadyReplicas == wanted && set.Status.ObservedGeneration == set.Generation {
		ready = "True"
	}
	w.now.cluster.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": ready}}}
}

// runPods makes pods and claims as they are wanted.
func (w *world) runPods() {
	d, set := &w.now.deployment, w.now.set
	if d.Spec.Replicas != nil {
		for i := *d.Spec.Replicas; i < d.Status.Replicas; i++ {
			w.now.ending, w.lasts = append(w.now.ending, fmt.Sprintf("chat-%d", i)), 20
		}
		d.Status.Replicas, d.Status.ObservedGeneration = *d.Spec.Replicas, d.Generation
	}
	n := *set.Spec.Replicas
	for i := range n {
		name := fmt.Sprintf("%s%d", w.my().ClaimPrefix, i)
		if claim, exists := w.now.claims[name]; exists && claim.DeletionTimestamp == nil {
			continue
		} else if exists {
			// The next pod waits until it is gone, and it goes with the pod that is
			// there, if one is: that one is replaced some day.
			delete(w.now.claims, name)
			return
		}
		w.claim(name, set.Spec.Template.Spec.InitContainers[0].Env[0].Value)
	}
	set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation, Replicas: n, ReadyReplicas: n, UpdatedReplicas: n}
}

// claim makes one that holds something.
func (w *world) claim(name, content string) {
	uid := w.uid("claim")
	w.contents[uid] = content
	w.now.claims[name] = corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: uid},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + string(uid)},
		Status:     corev1.PersistentVolumeClaimStatus{Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}
}

// collect removes what is deleted and not used any more.
func (w *world) collect() {
	for name, claim := range w.now.claims {
		if claim.DeletionTimestamp != nil && w.now.set.Status.Replicas == 0 {
			delete(w.now.claims, name)
		}
	}
	for name, r := range w.now.restores {
		if r.DeletionTimestamp != nil && len(r.Finalizers) == 0 {
			delete(w.now.restores, name)
		}
	}
}

func (w *world) remove(name string) {
	if claim, exists := w.now.claims[name]; exists {
		at := metav1.NewTime(w.time)
		claim.DeletionTimestamp = &at
		w.now.claims[name] = claim
	}
}

// settle is everybody but restores, until all is still.
func (w *world) settle() {
	for range 4 {
		for who := range 5 {
			w.operate(who)
		}
	}
}

// snapshot is what a restore sees, of the restore itself as it is and of the rest as it is
// or was: a cache shows each kind at a moment of its own, but what the process wrote.
func (w *world) snapshot(name string, at func() int) restore.Snapshot {
	see := func() state {
		if i := at(); i > 0 && i <= len(w.past) {
			return w.past[len(w.past)-i]
		}
		return w.now
	}
	r := w.now.restores[name]
	s := restore.Snapshot{Restore: r.DeepCopy(), Served: true, Secrets: map[string]installation.Secret{}}
	s.Installation = see().installation.DeepCopy()
	for secret := range see().secrets {
		s.Secrets[secret] = installation.Secret{}
	}
	others := see().restores
	for _, other := range slices.Sorted(maps.Keys(others)) {
		if others[other].UID != r.UID {
			s.Others = append(s.Others, *others[other].DeepCopy())
		}
	}
	deployment := see().deployment
	s.Deployments = []appsv1.Deployment{*deployment.DeepCopy()}
	if restore.Destroys(r) {
		for i := range w.now.deployment.Status.Replicas {
			s.Pods = append(s.Pods, fmt.Sprintf("chat-%d", i))
		}
		s.Pods = append(s.Pods, w.now.ending...)
	}
	s.Cluster, s.StatefulSet = see().cluster.DeepCopy(), see().set.DeepCopy()
	claims := see().claims
	for _, claim := range slices.Sorted(maps.Keys(claims)) {
		s.Claims = append(s.Claims, claims[claim])
	}
	return s
}

// pass is one look at a restore. It ends, as if the process was killed, after a number of
// writes; less than 0 for never.
func (w *world) pass(name string, at func() int, kill int) {
	if w.now.restores[name] == nil {
		return
	}
	s := w.snapshot(name, at)
	w.time = w.time.Add(time.Second)
	p := restore.Decide(s, w.time)
	out := plan.Outcome{}
	for _, step := range p.Steps {
		if kill == 0 {
			return
		}
		kill--
		w.do(s, step.Action)
		out.Done = append(out.Done, step)
	}
	if kill == 0 {
		return
	}
	after := restore.Report(s, p, out, w.time)
	if r := w.now.restores[name]; r != nil && r.UID == s.Restore.UID {
		r.Status = after.Status
	}
	if s.Restore.Status.Phase == v1alpha1.RestoreSettlingDatabase && after.Status.Phase == v1alpha1.RestoreStartingMattermost {
		if first, exists := w.now.claims[w.my().ClaimPrefix+"0"]; exists && w.contents[first.UID] == "" {
			w.violate("%s lets Mattermost start on an empty database", name)
		}
	}
}

func (w *world) do(s restore.Snapshot, action plan.Action) {
	switch action := action.(type) {
	case plan.Apply:
		if r := w.now.restores[s.Restore.Name]; r != nil && r.UID == s.Restore.UID {
			r.Finalizers = action.Object.GetFinalizers()
		}
	case restore.KeepVolume:
		w.retained[action.Claim] = true
	case restore.WriteCredentials:
	case plan.Delete:
		w.delete(s, action)
	default:
		w.violate("unknown action %s", action)
	}
}

// delete checks each claim that a restore deletes against the record that is stored.
func (w *world) delete(s restore.Snapshot, action plan.Delete) {
	stored := w.now.restores[s.Restore.Name]
	if claim, exists := w.now.claims[action.Ref.Name]; !exists || claim.UID != action.UID {
		return // The API server refuses it.
	}
	listed := func(v v1alpha1.RestoreVolume) bool { return v.UID == action.UID && v.Claim == action.Ref.Name }
	if stored == nil || stored.Status.Run == nil || stored.Status.Run.UID != stored.UID || !slices.ContainsFunc(stored.Status.Volumes, listed) {
		w.violate("%s (%s) is deleted and not on record", action.Ref.Name, action.UID)
		return
	}
	if restore.Ended(stored) {
		w.violate("%s is deleted by a restore that is over", action.Ref.Name)
	}
	if stored.Status.Run.ReplacedData == v1alpha1.RetainReplacedData && !w.retained[action.UID] {
		w.violate("%s is deleted, and its volume not kept", action.Ref.Name)
	}
	if n := len(w.now.ending); n > 0 {
		w.violate("%s is deleted while %d pods of Mattermost have not ended", action.Ref.Name, n)
	}
	w.deleted[action.UID] = true
	w.remove(action.Ref.Name)
}

// remember has the caches show this state later on.
func (w *world) remember() {
	w.past = append(w.past, w.now.copy())
	w.past = w.past[max(0, len(w.past)-6):]
}

// fresh is a cache that has caught up.
func fresh() int { return 0 }

// finish lets everybody work without faults until nothing changes, and corrects what a
// person is asked to correct.
func (w *world) finish(choice v1alpha1.ReplacedData) {
	w.now.secrets["backup"] = true
	for range 60 {
		if is, _ := w.running(); is && !slices.ContainsFunc(slices.Collect(maps.Values(w.now.restores)), func(r *v1alpha1.MattermostRestoreDB) bool { return !restore.Ended(r) || len(r.Finalizers) > 0 }) {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(w.now.restores)) {
			r := w.now.restores[name]
			if r.Status.Phase == v1alpha1.RestoreWaiting && r.Status.Confirmation != "" {
				r.Annotations = map[string]string{v1alpha1.ReplaceDataAnnotation: string(choice) + "-" + r.Status.Confirmation}
			}
			r.Spec.InitBucketURL, r.Spec.RestoreSecret, r.Spec.MattermostClusterName = backup, "backup", "chat"
			w.pass(name, fresh, -1)
			w.clear(r)
		}
		w.settle()
	}
}

// clear deletes what a restore says is in its way.
func (w *world) clear(r *v1alpha1.MattermostRestoreDB) {
	for _, c := range r.Status.Conditions {
		if c.Reason != v1alpha1.ReasonUnrecordedVolume {
			continue
		}
		for name := range w.now.claims {
			if strings.Contains(c.Message, name) {
				w.remove(name)
			}
		}
	}
}
