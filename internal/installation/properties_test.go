package installation

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// anyMattermost draws installations of all that this version carries out, and
// some that it refuses.
func anyMattermost(t *rapid.T) *v1beta1.Mattermost {
	word := rapid.StringMatching(`[a-z][a-z0-9]{0,8}`)
	words := rapid.MapOfN(word, word, 0, 2)
	name := rapid.StringMatching(`[a-z]([-a-z0-9]{0,60}[a-z0-9])?`).Draw(t, "name")
	mm := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{
		Namespace: "customer", Name: name, UID: types.UID("uid-of-" + name),
		Generation: rapid.Int64Range(1, 3).Draw(t, "generation"), ResourceVersion: "7",
	}}
	mm.Spec = v1beta1.MattermostSpec{
		Image:   rapid.SampledFrom([]string{"", "mattermost/mattermost-enterprise-edition", "example.com/mm"}).Draw(t, "image"),
		Version: rapid.SampledFrom([]string{"", "10.5.2", "10.6.0", "sha256:0123456789012345678901234567890123456789012345678901234567890123"}).Draw(t, "version"),
		Size:    rapid.SampledFrom([]string{"", "100users", "5000users", "10000users", "odd"}).Draw(t, "size"),
		Ingress: &v1beta1.Ingress{
			Enabled: rapid.Bool().Draw(t, "ingress"), Host: rapid.SampledFrom([]string{"", "chat.example.com"}).Draw(t, "host"),
			Annotations: words.Draw(t, "ingress annotations"),
		},
		ServiceAnnotations: words.Draw(t, "service annotations"),
		ResourceLabels:     words.Draw(t, "resource labels"),
		Database:           v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
		FileStore:          v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: "b", Secret: "fs"}},
	}
	if rapid.Bool().Draw(t, "has replicas") {
		mm.Spec.Replicas = new(rapid.Int32Range(-1, 3).Draw(t, "replicas"))
	}
	if rapid.Bool().Draw(t, "service account") {
		mm.Spec.FileStore.External.Secret, mm.Spec.FileStore.External.UseServiceAccount = "", true
	}
	if rapid.Bool().Draw(t, "licensed") {
		mm.Spec.LicenseSecret = "licence"
	}
	switch rapid.IntRange(0, 7).Draw(t, "routing") {
	case 0:
		mm.Spec.UseServiceLoadBalancer = true
	case 1:
		mm.Spec.AWSLoadBalancerController = &v1beta1.AWSLoadBalancerController{Enabled: true, Hosts: []v1beta1.IngressHost{{HostName: "alb.example.com"}}, IngressClassName: rapid.SampledFrom([]string{"", "alb"}).Draw(t, "class")}
	}
	if rapid.IntRange(0, 3).Draw(t, "routed") == 0 {
		mm.Spec.HTTPRoute = &v1beta1.HTTPRoute{Enabled: true, Host: rapid.SampledFrom([]string{"", "route.example.com"}).Draw(t, "route's host")}
		if rapid.Bool().Draw(t, "gateway") {
			mm.Spec.HTTPRoute.GatewayRef = &v1beta1.GatewayReference{Name: "public"}
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "job server") == 0 {
		mm.Spec.JobServer = &v1beta1.JobServer{DedicatedJobServer: true}
	}
	if rapid.IntRange(0, 3).Draw(t, "local") == 0 {
		mm.Spec.FileStore = v1beta1.FileStore{Local: &v1beta1.LocalFileStore{Enabled: true, StorageSize: rapid.SampledFrom([]string{"", "7Gi", "odd"}).Draw(t, "size of the claim")}}
	}
	switch rapid.IntRange(0, 7).Draw(t, "managed") {
	case 0:
		mm.Spec.Database, mm.Spec.FileStore = v1beta1.Database{}, v1beta1.FileStore{}
	case 1:
		mm.Spec.Database = v1beta1.Database{OperatorManaged: &v1beta1.OperatorManagedDatabase{Type: rapid.SampledFrom([]string{"mysql", "postgres", "odd"}).Draw(t, "type")}}
		mm.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: rapid.SampledFrom([]string{"Retain", "Delete", "odd"}).Draw(t, "data policy")}
	}
	if rapid.IntRange(0, 3).Draw(t, "patched") == 0 {
		mm.Spec.ResourcePatch = &v1beta1.ResourcePatch{Deployment: &v1beta1.Patch{Patch: rapid.SampledFrom([]string{
			"", "odd", `[{"op":"add","path":"/spec/minReadySeconds","value":3}]`, `[{"op":"add","path":"/spec/template/spec/hostNetwork","value":true}]`,
		}).Draw(t, "patch")}}
		if rapid.Bool().Draw(t, "patched before") {
			mm.Status.ResourcePatch = &v1beta1.ResourcePatchStatus{DeploymentPatch: &v1beta1.PatchStatus{Applied: true}}
		}
	}
	for key, value := range words.Draw(t, "env") {
		mm.Spec.MattermostEnv = append(mm.Spec.MattermostEnv, corev1.EnvVar{Name: key, Value: value})
	}
	return mm
}

// anySecrets draws the Secrets that there are, complete or not.
func anySecrets(t *rapid.T) map[string]Secret {
	some := map[string]Secret{}
	for name, data := range map[string]map[string][]byte{
		"db":      {keyConnection: []byte("postgres://u:p@h/d"), keyCheckURL: []byte("http://h")},
		"fs":      {keyAccess: []byte("a"), keySecret: []byte("s")},
		"licence": {keyLicence: []byte("l")},
	} {
		switch rapid.IntRange(0, 5).Draw(t, name) {
		case 0: // There is none.
		case 1:
			some[name] = FactsOf(Redact(&corev1.Secret{}))
		default:
			some[name] = FactsOf(Redact(&corev1.Secret{Data: data}))
		}
	}
	return some
}

// anySnapshot draws a world: nothing yet, or what a former version of the
// installation left, with more or less of it done.
func anySnapshot(t *rapid.T) Snapshot {
	mm := anyMattermost(t)
	s := Snapshot{Mattermost: mm, Secrets: anySecrets(t)}
	// Every other world is as it should be, or nearly, or none ever would be.
	calm := rapid.Bool().Draw(t, "calm")
	if calm {
		mm.Spec.Ingress.Host, mm.Spec.Size = "chat.example.com", ""
		mm.Spec.Replicas = new(rapid.Int32Range(0, 2).Draw(t, "calm replicas"))
		for name, keys := range map[string][]string{"db": {keyConnection}, "fs": {keyAccess, keySecret}, "licence": {keyLicence}} {
			s.Secrets[name] = Secret{Keys: keys}
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "deleting") == 0 {
		mm.DeletionTimestamp, mm.Finalizers = &metav1.Time{Time: time.Unix(1_700_000_000, 0)}, []string{"example.com/x"}
	}
	former := Default(mm)
	if rapid.Bool().Draw(t, "upgrade") {
		former.Spec.Version = "9.0.0"
	}
	shape := anyShape(t)
	if rapid.Bool().Draw(t, "recorded") {
		mm.Status.Shape = shape
	}
	r, err := Render(former, s.Secrets, RenderOptions{Shape: shape})
	if err != nil {
		return s
	}
	for _, object := range r.Objects {
		ref := plan.RefTo(object)
		live := inventory.Live{Ref: ref, UID: types.UID("uid-of-" + ref.String()), Controller: mm.UID}
		luck := 2
		if !calm {
			luck = rapid.IntRange(0, 4).Draw(t, "live "+ref.String())
		}
		switch luck {
		case 0:
			continue
		case 1:
			live.Controller = "somebody-else"
		case 2:
			mm.Status.Inventory = append(mm.Status.Inventory, v1beta1.InventoryItem{Group: ref.Group, Kind: ref.Kind, Name: ref.Name, Digest: inventory.Digest(object, nil, Manager)})
		default:
		}
		s.Live = append(s.Live, live)
		if ref.Kind == "Deployment" && ref.Name != mm.Name && live.Controller == mm.UID {
			s.JobServer, _ = anyRollOut(t, former, object)
		}
		if ref.Kind == "Deployment" && ref.Name == mm.Name && live.Controller == mm.UID {
			s.Deployment, s.ReplicaSets = anyRollOut(t, former, object)
			if calm && rapid.Bool().Draw(t, "rolled out") {
				n := replicas(former)
				s.Deployment.Status = appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: n, UpdatedReplicas: n, AvailableReplicas: n}
				s.Deployment.Spec.Replicas = new(replicas(former))
				s.ReplicaSets[0].Status.AvailableReplicas = replicas(former)
			}
		}
	}
	s.Autoscaled = rapid.Bool().Draw(t, "autoscaled")
	if s.Deployment != nil && rapid.Bool().Draw(t, "job") {
		s.Jobs = anyJobs(t, s)
	}
	return s
}

func anyShape(t *rapid.T) v1beta1.Shape {
	return rapid.SampledFrom([]v1beta1.Shape{v1beta1.ShapeStandard, v1beta1.ShapeStrict}).Draw(t, "shape")
}

func anyRollOut(t *rapid.T, mm *v1beta1.Mattermost, intent *unstructured.Unstructured) (*appsv1.Deployment, []appsv1.ReplicaSet) {
	count := rapid.Int32Range(0, 3)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: mm.Namespace, Name: mm.Name, UID: "d", Generation: 2, Annotations: map[string]string{revisionAnnotation: "2"}}}
	d.Spec.Replicas = new(count.Draw(t, "live replicas"))
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: mainContainer, Image: intendedImage(intent)}}
	d.Status.ObservedGeneration = rapid.Int64Range(1, 2).Draw(t, "observed")
	d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas = count.Draw(t, "pods"), count.Draw(t, "updated pods"), count.Draw(t, "available pods")
	if rapid.Bool().Draw(t, "stuck") {
		d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: "too slow"}}
	}
	set := appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{revisionAnnotation: "2"}}}
	set.Status = appsv1.ReplicaSetStatus{ObservedGeneration: 1, AvailableReplicas: count.Draw(t, "available")}
	return d, []appsv1.ReplicaSet{set}
}

func anyJobs(t *rapid.T, s Snapshot) []batchv1.Job {
	mm := Default(s.Mattermost)
	r, err := Render(mm, s.Secrets, RenderOptions{Shape: shapeOf(s)})
	if err != nil {
		return nil
	}
	name := "left-by-another-upgrade"
	if intent, err := UpdateJob(mm, find(r.Objects, plan.RefOf(deploymentKind, mm.Namespace, mm.Name))); err == nil && rapid.Bool().Draw(t, "this upgrade's") {
		name = intent.GetName()
	}
	job := batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: mm.Namespace, Name: name, UID: "j", Labels: map[string]string{appLabel: updateJobLabel, installationLabel: mm.Name}}}
	switch rapid.IntRange(0, 2).Draw(t, "job's state") {
	case 0:
		job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	case 1:
		job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "ten times"}}
	}
	return []batchv1.Job{job}
}

func copyOf(s Snapshot) Snapshot {
	c := s
	c.Mattermost = s.Mattermost.DeepCopy()
	c.Secrets = map[string]Secret{}
	for name, secret := range s.Secrets {
		secret.Keys, secret.Empty = slices.Clone(secret.Keys), slices.Clone(secret.Empty)
		c.Secrets[name] = secret
	}
	c.Live = slices.Clone(s.Live)
	if s.Deployment != nil {
		c.Deployment = s.Deployment.DeepCopy()
	}
	if s.JobServer != nil {
		c.JobServer = s.JobServer.DeepCopy()
	}
	c.ReplicaSets, c.Jobs = nil, nil
	for i := range s.ReplicaSets {
		c.ReplicaSets = append(c.ReplicaSets, *s.ReplicaSets[i].DeepCopy())
	}
	for i := range s.Jobs {
		c.Jobs = append(c.Jobs, *s.Jobs[i].DeepCopy())
	}
	return c
}

var somewhen = time.Unix(1_800_000_000, 0)

// outcomes draws what became of a plan.
func anyOutcome(t *rapid.T, p plan.Plan) plan.Outcome {
	o := plan.Outcome{Applied: map[plan.Ref]string{}}
	lucky := rapid.Bool().Draw(t, "nothing fails")
	for _, step := range p.Steps {
		if !lucky && rapid.IntRange(0, 3).Draw(t, "fails "+step.Action.String()) == 0 {
			o.Failed = append(o.Failed, plan.Failure{Step: step, Err: fmt.Errorf("%s: no luck", step.Action)})
			continue
		}
		o.Done = append(o.Done, step)
		if apply, ok := step.Action.(plan.Apply); ok && apply.Manager == "" {
			o.Applied[plan.RefTo(apply.Object)] = "digest"
		}
	}
	return o
}

func TestSameSnapshotSamePlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anySnapshot(t)
		before := copyOf(s)
		p := Decide(s, somewhen)
		if again := Decide(copyOf(s), somewhen); !reflect.DeepEqual(p, again) {
			t.Fatalf("two plans from one snapshot:\n%s", cmp.Diff(p, again))
		}
		outcome := anyOutcome(t, p)
		after := Report(s, p, outcome, somewhen)
		if again := Report(copyOf(s), p, outcome, somewhen); !reflect.DeepEqual(after, again) {
			t.Fatalf("two reports from one snapshot:\n%s", cmp.Diff(after, again))
		}
		if !reflect.DeepEqual(before, s) {
			t.Fatalf("the snapshot was changed:\n%s", cmp.Diff(before, s))
		}
		if !reflect.DeepEqual(after.Spec, s.Mattermost.Spec) {
			t.Fatalf("the report changed the spec")
		}
	})
}

// TestPlansAreSound: actions have unique names and needs that come before them,
// and what is not ours is not touched.
func TestPlansAreSound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anySnapshot(t)
		p := Decide(s, somewhen)
		seen := map[string]bool{}
		for _, step := range p.Steps {
			if seen[step.Action.String()] {
				t.Fatalf("%s is there twice", step.Action)
			}
			for _, need := range step.Needs {
				if !seen[need] {
					t.Fatalf("%s needs %s, which does not come before it", step.Action, need)
				}
			}
			seen[step.Action.String()] = true
			if step.Why == "" {
				t.Fatalf("%s has no reason", step.Action)
			}
			if s.Mattermost.DeletionTimestamp != nil {
				t.Fatalf("%s although the resource is being deleted", step.Action)
			}
			for _, live := range s.Live {
				name := live.Ref.String()
				if live.Controller != s.Mattermost.UID && (step.Action.String() == "apply "+name || step.Action.String() == "delete "+name) {
					t.Fatalf("%s, which is somebody else's", step.Action)
				}
			}
		}
	})
}

// TestStatusesAreSound: each status says one thing, to people and to tools.
func TestStatusesAreSound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anySnapshot(t)
		p := Decide(s, somewhen)
		status := Report(s, p, anyOutcome(t, p), somewhen).Status
		is := func(kind string) bool { return meta.IsStatusConditionTrue(status.Conditions, kind) }
		ready, reconciling, stalled := is(v1beta1.ConditionReady), is(v1beta1.ConditionReconciling), is(v1beta1.ConditionStalled)
		said := 0
		for _, one := range []bool{ready, reconciling, stalled} {
			if one {
				said++
			}
		}
		if said != 1 {
			t.Fatalf("Ready %v, Reconciling %v, Stalled %v: want exactly one", ready, reconciling, stalled)
		}
		if ready != (status.State == v1beta1.Stable) {
			t.Fatalf("Ready is %v and the state %s", ready, status.State)
		}
		if ready && (status.Error != "" || len(p.Steps) > 0 && s.Deployment == nil) {
			t.Fatalf("Ready with error %q", status.Error)
		}
		for _, c := range status.Conditions {
			if c.Message == "" || c.Reason == "" || len(c.Message) > messageLimit {
				t.Fatalf("condition %+v", c)
			}
		}
	})
}

// TestRenderKeepsItsInput, and renders the same twice.
func TestRenderKeepsItsInput(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		mm, secrets := Default(anyMattermost(t)), anySecrets(t)
		before := mm.DeepCopy()
		options := RenderOptions{Shape: anyShape(t)}
		r, err := Render(mm, secrets, options)
		if err != nil {
			return
		}
		for _, o := range r.Objects {
			if o.GetKind() == "Deployment" && o.GetName() == mm.Name {
				if _, err := UpdateJob(mm, o); err != nil {
					t.Fatal(err)
				}
			}
		}
		again, err := Render(mm, secrets, options)
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%v, rendered another time:\n%s", err, cmp.Diff(r, again))
		}
		if !reflect.DeepEqual(before, mm) {
			t.Fatalf("the input was changed:\n%s", cmp.Diff(before, mm))
		}
		if twice := Default(mm); !reflect.DeepEqual(mm, twice) {
			t.Fatalf("defaults of defaults differ:\n%s", cmp.Diff(mm, twice))
		}
	})
}

// TestNoSharedNames: no two installations of a namespace have an object, or an
// update Job, of the same name.
func TestNoSharedNames(t *testing.T) {
	t.Parallel()
	names := func(t *rapid.T, mm *v1beta1.Mattermost, secrets map[string]Secret) map[plan.Ref]bool {
		all := map[plan.Ref]bool{}
		r, err := Render(mm, secrets, RenderOptions{})
		if err != nil {
			return all
		}
		for _, o := range r.Objects {
			all[plan.RefTo(o)] = true
			if o.GetKind() == "Deployment" && o.GetName() == mm.Name {
				job, err := UpdateJob(mm, o)
				if err != nil {
					t.Fatal(err)
				}
				if len(job.GetName()) > maxJobName {
					t.Fatalf("Job %s is too long", job.GetName())
				}
				all[plan.RefTo(job)] = true
			}
		}
		return all
	}
	rapid.Check(t, func(t *rapid.T) {
		one := Default(anyMattermost(t))
		other := one.DeepCopy()
		// Alike but for the end of the name, where cutting off would hurt.
		other.Name = one.Name + rapid.StringMatching(`[a-z0-9]{1,4}`).Draw(t, "more of the name")
		other.UID = "another"
		secrets := anySecrets(t)
		theirs := names(t, other, secrets)
		for ref := range names(t, one, secrets) {
			if theirs[ref] {
				t.Fatalf("%s and %s both have %s", one.Name, other.Name, ref)
			}
		}
	})
}
