package installations

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// badInputs are mistakes on a running installation, with the reason of Stalled and
// a part of its message. Nothing that runs is written for any of them.
var badInputs = map[string]struct {
	change          func(*v1beta1.Mattermost)
	reason, message string
}{
	"missing Secret":                 {func(mm *v1beta1.Mattermost) { mm.Spec.Database.External.Secret = "nowhere" }, v1beta1.ReasonSecretNotFound, `"nowhere"`},
	"Secret without the key":         {func(mm *v1beta1.Mattermost) { mm.Spec.Database.External.Secret = "fs" }, v1beta1.ReasonSecretInvalid, "DB_CONNECTION_STRING"},
	"empty connection string":        {func(mm *v1beta1.Mattermost) { mm.Spec.Database.External.Secret = "empty" }, v1beta1.ReasonSecretInvalid, "DB_CONNECTION_STRING"},
	"check URL of another kind":      {func(mm *v1beta1.Mattermost) { mm.Spec.Database.External.Secret = "ftp" }, v1beta1.ReasonSecretInvalid, "DB_CONNECTION_CHECK_URL"},
	"check URL without a host":       {func(mm *v1beta1.Mattermost) { mm.Spec.Database.External.Secret = "hostless" }, v1beta1.ReasonSecretInvalid, "has to name a host"},
	"file store without credentials": {func(mm *v1beta1.Mattermost) { mm.Spec.FileStore.External.Secret = "" }, v1beta1.ReasonInvalidSpec, "useServiceAccount"},
	"claim that does not exist": {func(mm *v1beta1.Mattermost) {
		mm.Spec.FileStore = v1beta1.FileStore{ExternalVolume: &v1beta1.ExternalVolumeFileStore{VolumeClaimName: "nowhere"}}
	}, v1beta1.ReasonClaimNotFound, `"nowhere"`},
	"no size of storage": {func(mm *v1beta1.Mattermost) {
		mm.Spec.FileStore = v1beta1.FileStore{Local: &v1beta1.LocalFileStore{Enabled: true, StorageSize: "0"}}
	}, v1beta1.ReasonInvalidSpec, "storageSize"},
	"missing licence":        {func(mm *v1beta1.Mattermost) { mm.Spec.LicenseSecret = "nowhere" }, v1beta1.ReasonSecretNotFound, "spec.licenseSecret"},
	"Ingress without a host": {func(mm *v1beta1.Mattermost) { mm.Spec.Ingress.Host = "" }, v1beta1.ReasonInvalidSpec, "spec.ingress.host"},
	"empty class":            {func(mm *v1beta1.Mattermost) { mm.Spec.Ingress.IngressClass = new("") }, v1beta1.ReasonInvalidSpec, "ingressClass"},
	"two load balancers": {func(mm *v1beta1.Mattermost) {
		mm.Spec.UseServiceLoadBalancer = true
		mm.Spec.AWSLoadBalancerController = &v1beta1.AWSLoadBalancerController{Enabled: true, Hosts: []v1beta1.IngressHost{{HostName: "a"}}}
	}, v1beta1.ReasonInvalidSpec, "exclude each other"},
	"AWS load balancer without hosts": {func(mm *v1beta1.Mattermost) {
		mm.Spec.AWSLoadBalancerController = &v1beta1.AWSLoadBalancerController{Enabled: true}
	}, v1beta1.ReasonInvalidSpec, "hosts"},
	"route without a Gateway": {func(mm *v1beta1.Mattermost) { mm.Spec.HTTPRoute = &v1beta1.HTTPRoute{Enabled: true, Host: "r"} }, v1beta1.ReasonInvalidSpec, "gatewayRef"},
	"route without a host": {func(mm *v1beta1.Mattermost) {
		mm.Spec.HTTPRoute = &v1beta1.HTTPRoute{Enabled: true, GatewayRef: &v1beta1.GatewayReference{Name: "public"}}
	}, v1beta1.ReasonInvalidSpec, "spec.httpRoute.host"},
	"negative replicas": {func(mm *v1beta1.Mattermost) { mm.Spec.Replicas = new(int32(-1)) }, v1beta1.ReasonInvalidSpec, "spec.replicas"},
	"forbidden volume": {func(mm *v1beta1.Mattermost) {
		mm.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
	}, v1beta1.ReasonInvalidSpec, "spec.volumes[0]"},
	"mount without a volume": {func(mm *v1beta1.Mattermost) {
		mm.Spec.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	}, v1beta1.ReasonInvalidSpec, "spec.volumeMounts[0]"},
	"unknown type of database": {func(mm *v1beta1.Mattermost) {
		mm.Spec.Database = v1beta1.Database{OperatorManaged: &v1beta1.OperatorManagedDatabase{Type: "oracle"}}
	}, v1beta1.ReasonInvalidSpec, `"oracle"`},
	"unknown data policy": {func(mm *v1beta1.Mattermost) {
		mm.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: "Perhaps"}
	}, v1beta1.ReasonInvalidSpec, `"Perhaps"`},
}

// TestBadInput makes each mistake on a running installation, and puts it right.
func TestBadInput(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	for name, data := range map[string]map[string]string{
		"empty":    {"DB_CONNECTION_STRING": ""},
		"ftp":      {"DB_CONNECTION_STRING": "postgres://u:p@h/d", "DB_CONNECTION_CHECK_URL": "ftp://h"},
		"hostless": {"DB_CONNECTION_STRING": "postgres://u:p@h/d", "DB_CONNECTION_CHECK_URL": "http://"},
	} {
		if err := c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, StringData: data}); err != nil {
			t.Fatal(err)
		}
	}
	i := 0
	for title, bad := range badInputs {
		i++
		name := create(t, c, ns, fmt.Sprintf("chat-%d", i))
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			stable(t, c, name)
			before := running(t, c, name)
			good := get(t, c, name, &v1beta1.Mattermost{})
			edit(t, c, name, bad.change)
			stalled := says(t, c, name, v1beta1.ConditionStalled, bad.reason)
			if !strings.Contains(stalled.Message, bad.message) {
				t.Errorf("the message does not say %q: %s", bad.message, stalled.Message)
			}
			if mm := get(t, c, name, &v1beta1.Mattermost{}); mm.Status.Error == "" || mm.Status.State != v1beta1.Reconciling {
				t.Errorf("status: state %s, error %q", mm.Status.State, mm.Status.Error)
			}
			if after := running(t, c, name); after != before {
				t.Errorf("what runs was written: %s before, %s after", before, after)
			}
			edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec, mm.Annotations = *good.Spec.DeepCopy(), nil })
			stable(t, c, name)
			if after := running(t, c, name); after != before {
				t.Errorf("the way back wrote what runs: %s before, %s after", before, after)
			}
		})
	}
}

// running are the versions of what a user would notice a change of.
func running(t testing.TB, c client.Client, name types.NamespacedName) string {
	t.Helper()
	d, s, i := get(t, c, name, &appsv1.Deployment{}), get(t, c, name, &corev1.Service{}), get(t, c, name, &networkingv1.Ingress{})
	return fmt.Sprintf("Deployment %d, Service %s, Ingress %s", d.Generation, s.ResourceVersion, i.ResourceVersion)
}

// TestWarnings: what is taken, and carried out otherwise than it may be meant.
func TestWarnings(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.Version = "latest"
		mm.Spec.MattermostEnv = []corev1.EnvVar{{Name: "TWICE", Value: "a"}, {Name: "TWICE", Value: "b"}}
		mm.Spec.Ingress.Annotations = map[string]string{"nginx.ingress.kubernetes.io/server-snippet": "return 410;"}
		mm.Spec.FileStore.Local = &v1beta1.LocalFileStore{Enabled: true}
	})
	mm := stable(t, c, name)
	warned := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionSpecWarnings)
	if warned == nil {
		t.Fatalf("no warnings: %+v", mm.Status.Conditions)
	}
	for _, part := range []string{`"latest"`, "TWICE is there 2 times", "server-snippet is left out", "external and local are set, and external counts"} {
		if !strings.Contains(warned.Message, part) {
			t.Errorf("nothing of %q in: %s", part, warned.Message)
		}
	}
	if in := get(t, c, name, &networkingv1.Ingress{}); len(in.Annotations) != 2 {
		t.Errorf("annotations of the Ingress: %v", in.Annotations)
	}
}

// TestQuotaForNoSurge: what Kubernetes cannot make is said at once, with what forbids it, and
// the pods that there are serve.
func TestQuotaForNoSurge(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	stable(t, c, name)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "pods"}}
	quota.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("2")}
	if err := c.Create(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(quota), quota)
		used := quota.Status.Used[corev1.ResourcePods]
		if used.Value() != 2 {
			return fmt.Sprintf("the quota to count 2 pods, not %s", used.String()), err
		}
		return "", err
	})
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.MattermostEnv = []corev1.EnvVar{{Name: "NEW", Value: "x"}} })
	eventually(t, func(ctx context.Context) (string, error) {
		mm := &v1beta1.Mattermost{}
		err := c.Get(ctx, name, mm)
		ready := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionReady)
		if ready == nil || ready.Reason != v1beta1.ReasonDeploymentProgressing || !strings.Contains(ready.Message, "exceeded quota: pods") {
			return fmt.Sprintf("the quota to be named; conditions %+v", mm.Status.Conditions), err
		}
		return "", err
	})
	if d := get(t, c, name, &appsv1.Deployment{}); d.Status.AvailableReplicas != 2 {
		t.Errorf("%d pods serve", d.Status.AvailableReplicas)
	}
	if err := c.Delete(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	if mm := stable(t, c, name); mm.Status.StableGeneration != mm.Generation {
		t.Errorf("stable with generation %d of %d", mm.Status.StableGeneration, mm.Generation)
	}
}
