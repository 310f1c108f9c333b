package clusterinstallation

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// cluster is a simple one: what is applied exists, and pods run when they are told to.
type cluster struct {
	ci      *v1alpha1.ClusterInstallation
	secrets map[string]installation.Secret
	objects map[plan.Ref]*unstructured.Unstructured
	// applied are the seconds at which the objects last changed, and now is the present one.
	applied map[plan.Ref]int64
	now     int64
	// rolledOut is the image that all pods of a Deployment last ran.
	rolledOut map[string]string
	jobsDone  map[string]bool
}

func newCluster(stored *v1alpha1.ClusterInstallation) *cluster {
	return &cluster{ci: stored.DeepCopy(), secrets: facts(), objects: map[plan.Ref]*unstructured.Unstructured{}, applied: map[plan.Ref]int64{}, rolledOut: map[string]string{}, jobsDone: map[string]bool{}}
}

func imageOf(d *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
	image, _ := containers[0].(map[string]any)["image"].(string)
	return image
}

// do carries out one step.
func (c *cluster) do(step plan.Step, outcome *plan.Outcome) {
	outcome.Done = append(outcome.Done, step)
	switch action := step.Action.(type) {
	case plan.Apply:
		ref := plan.RefTo(action.Object)
		if c.now++; !equality.Semantic.DeepEqual(c.objects[ref], action.Object) {
			c.objects[ref], c.applied[ref] = action.Object, c.now
		}
		outcome.Applied[ref] = inventory.Digest(action.Object, c.managed(ref), installation.Manager)
	case plan.Delete:
		delete(c.objects, action.Ref)
		if action.Ref.Kind == "Deployment" {
			delete(c.rolledOut, action.Ref.Name)
		}
	case WriteBack:
		c.ci.Spec = action.ClusterInstallation.Spec
		c.ci.Generation++
	case installation.GenerateSecret:
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: action.Name}, Data: map[string][]byte{}}
		for key := range action.Random {
			secret.Data[key] = []byte("x")
		}
		for key, value := range action.Fixed {
			secret.Data[key] = []byte(value)
		}
		c.secrets[action.Name] = installation.FactsOf(installation.Redact(secret))
	default:
		panic("no such step: " + action.String())
	}
}

func (c *cluster) managed(ref plan.Ref) []metav1.ManagedFieldsEntry {
	at := metav1.Unix(c.applied[ref], 0)
	return []metav1.ManagedFieldsEntry{{Manager: installation.Manager, Operation: metav1.ManagedFieldsOperationApply, Time: &at, FieldsV1: metav1.NewFieldsV1("{}")}}
}

// rollOut has all pods run what is wanted of them, and all Jobs succeed.
func (c *cluster) rollOut() {
	for ref, object := range c.objects {
		switch ref.Kind {
		case "Deployment":
			c.rolledOut[ref.Name] = imageOf(object)
		case "Job":
			c.jobsDone[ref.Name] = true
		}
	}
}

// serves reports whether the Service sends to pods that run; a cluster without a Service
// sends nothing to anybody.
func (c *cluster) serves() (set string, served bool) {
	service := c.objects[plan.RefOf(serviceKind, c.ci.Namespace, c.ci.Name)]
	if service == nil {
		return "", false
	}
	set, _, _ = unstructured.NestedString(service.Object, "spec", "selector", installation.SelectedBy)
	_, runs := c.rolledOut[set]
	return set, runs && c.objects[plan.RefOf(deploymentKind, c.ci.Namespace, set)] != nil
}

// settle plays everything that is to be done, until nothing is, or only what is handed
// over to others.
func (c *cluster) settle() Snapshot {
	for range 20 {
		s := c.snapshot()
		p := Decide(s, somewhen)
		over := slices.ContainsFunc(p.Steps, func(step plan.Step) bool {
			_, is := step.Action.(plan.HandOver)
			return is
		})
		if len(p.Steps) == 0 || over {
			return s
		}
		outcome := plan.Outcome{Applied: map[plan.Ref]string{}}
		for _, step := range p.Steps {
			c.do(step, &outcome)
		}
		c.ci = Report(s, p, outcome, somewhen)
		c.rollOut()
	}
	panic("it does not settle")
}

// snapshot is what the controller would see.
func (c *cluster) snapshot() Snapshot { return c.snapshotOf(c.ci) }

func (c *cluster) snapshotOf(stored *v1alpha1.ClusterInstallation) Snapshot {
	c.ci = stored
	s := observed(c.ci, c.secrets)
	var jobs []batchv1.Job
	for ref, object := range c.objects {
		live := inventory.Live{Ref: ref, UID: types.UID(ref.String()), Managed: c.managed(ref)}
		if len(object.GetOwnerReferences()) > 0 {
			live.Controller = c.ci.UID
		}
		s.Views[0].Live = append(s.Views[0].Live, live)
		if ref.Kind == "Job" {
			job := batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: c.ci.Namespace, Name: ref.Name, UID: live.UID, Labels: object.GetLabels()}}
			if c.jobsDone[ref.Name] {
				job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
			}
			jobs = append(jobs, job)
		}
	}
	for i := range s.Views {
		view := &s.Views[i]
		view.Jobs = jobs
		if d := c.objects[plan.RefOf(deploymentKind, c.ci.Namespace, view.Name())]; d != nil {
			view.Deployment, view.ReplicaSets = c.pods(d)
		}
		if service := c.objects[plan.RefOf(serviceKind, c.ci.Namespace, view.Name())]; service != nil {
			selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
			address, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP")
			view.Service = &corev1.Service{Spec: corev1.ServiceSpec{Selector: selector, ClusterIP: address}}
		}
	}
	return s
}

func (c *cluster) pods(d *unstructured.Unstructured) (*appsv1.Deployment, []appsv1.ReplicaSet) {
	wanted, _, _ := unstructured.NestedInt64(d.Object, "spec", "replicas")
	live, sets := running(d.GetName(), imageOf(d), c.rolledOut[d.GetName()] == imageOf(d))
	live.Spec.Replicas = new(int32(wanted))
	if wanted == 0 {
		live.Status.Replicas, live.Status.UpdatedReplicas, live.Status.AvailableReplicas, sets[0].Status.AvailableReplicas = 0, 0, 0, 0
	}
	return live, sets
}

// state is what there is, for messages.
func (c *cluster) state() string {
	var all []string
	for ref := range c.objects {
		all = append(all, ref.String())
	}
	return strings.Join(all, " ")
}
