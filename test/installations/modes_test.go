package installations

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// get reads an object that has to be there.
func get[O client.Object](t testing.TB, c client.Client, name types.NamespacedName, object O) O {
	t.Helper()
	if err := c.Get(t.Context(), name, object); err != nil {
		t.Fatal(err)
	}
	return object
}

// gone waits until an object is not there any more.
func gone(t testing.TB, c client.Client, name types.NamespacedName, object client.Object) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, name, object)
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		return fmt.Sprintf("%T %s to be gone", object, name), err
	})
}

// says waits until a condition has a reason, and returns it.
func says(t testing.TB, c client.Client, name types.NamespacedName, kind, reason string) metav1.Condition {
	t.Helper()
	var mm v1beta1.Mattermost
	var found *metav1.Condition
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, name, &mm)
		found = meta.FindStatusCondition(mm.Status.Conditions, kind)
		if found == nil || found.Reason != reason || found.ObservedGeneration != mm.Generation {
			return fmt.Sprintf("condition %s with the reason %s; there are %+v", kind, reason, mm.Status.Conditions), err
		}
		return "", err
	})
	return *found
}

func sibling(name types.NamespacedName, suffix string) types.NamespacedName {
	return types.NamespacedName{Namespace: name.Namespace, Name: name.Name + suffix}
}

// TestRoutes takes an installation from an Ingress to a load balancer of its
// own, behind the AWS load balancer controller, and back.
func TestRoutes(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	stable(t, c, name)
	pods := get(t, c, name, &appsv1.Deployment{}).UID

	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.UseServiceLoadBalancer = true })
	if mm := stable(t, c, name); mm.Status.Endpoint != "chat."+ns+".invalid" {
		t.Errorf("endpoint %q, want the load balancer's", mm.Status.Endpoint)
	}
	if s := get(t, c, name, &corev1.Service{}); s.Spec.Type != corev1.ServiceTypeLoadBalancer || len(s.Spec.Ports) != 2 || s.Spec.Ports[0].Port != 80 {
		t.Errorf("Service: %+v", s.Spec)
	}
	gone(t, c, name, &networkingv1.Ingress{})

	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.UseServiceLoadBalancer = false
		mm.Spec.AWSLoadBalancerController = &v1beta1.AWSLoadBalancerController{Enabled: true, IngressClassName: "alb", Hosts: []v1beta1.IngressHost{{HostName: "alb.example.com"}}}
	})
	if mm := stable(t, c, name); mm.Status.Endpoint != "alb.example.com" {
		t.Errorf("endpoint %q, want the AWS load balancer's host", mm.Status.Endpoint)
	}
	if s := get(t, c, name, &corev1.Service{}); s.Spec.Type != corev1.ServiceTypeNodePort || s.Spec.Ports[0].Name != "app" {
		t.Errorf("Service: %+v", s.Spec)
	}

	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.AWSLoadBalancerController = nil })
	if mm := stable(t, c, name); mm.Status.Endpoint != "chat.example.com" {
		t.Errorf("endpoint %q, want the host of the Ingress", mm.Status.Endpoint)
	}
	if s := get(t, c, name, &corev1.Service{}); s.Spec.Type != corev1.ServiceTypeClusterIP || len(s.Spec.Ports) != 2 {
		t.Errorf("Service: %+v", s.Spec)
	}
	if again := get(t, c, name, &appsv1.Deployment{}).UID; again != pods {
		t.Error("the Deployment was made anew")
	}
}

// TestHTTPRoute: a route instead of the Ingress, one that no gateway takes, and back.
func TestHTTPRoute(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	stable(t, c, name)
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.Ingress = nil
		mm.Spec.HTTPRoute = &v1beta1.HTTPRoute{Enabled: true, Host: "route.example.com", GatewayRef: &v1beta1.GatewayReference{Name: "does-not-exist"}}
	})
	if c := says(t, c, name, v1beta1.ConditionEndpointReady, v1beta1.ReasonRouteNotAccepted); !strings.Contains(c.Message, "gatewayRef") {
		t.Errorf("the message does not say where to look: %s", c.Message)
	}
	gone(t, c, name, &networkingv1.Ingress{})
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.HTTPRoute.GatewayRef = public() })
	if mm := stable(t, c, name); mm.Status.Endpoint != "route.example.com" {
		t.Errorf("endpoint %q, want the route's host", mm.Status.Endpoint)
	}
	siteURL := ""
	for _, env := range get(t, c, name, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Env {
		if env.Name == "MM_SERVICESETTINGS_SITEURL" {
			siteURL = env.Value
		}
	}
	if siteURL != "https://route.example.com" {
		t.Errorf("the site's URL is %q, want the route's", siteURL)
	}
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.HTTPRoute = nil
		mm.Spec.Ingress = &v1beta1.Ingress{Enabled: true, Host: "chat.example.com"}
	})
	stable(t, c, name)
	gone(t, c, name, httpRoute())
}

// TestIngressClass: an AWS load balancer without a class gets one of its own, and
// never takes one that is for something else.
func TestIngressClass(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	// A class is the whole cluster's, so the names have to be this test's.
	foreign := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "b-" + ns}, Spec: networkingv1.IngressClassSpec{Controller: "example.com/other"}}
	if err := c.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a-" + ns, "b-" + ns} {
		secrets(t, c, ns)
		mm := example(ns, name)
		mm.Spec.AWSLoadBalancerController = &v1beta1.AWSLoadBalancerController{Enabled: true, Hosts: []v1beta1.IngressHost{{HostName: "alb.example.com"}}}
		if err := c.Create(t.Context(), mm); err != nil {
			t.Fatal(err)
		}
	}
	stable(t, c, types.NamespacedName{Namespace: ns, Name: "a-" + ns})
	class := get(t, c, types.NamespacedName{Name: "a-" + ns}, &networkingv1.IngressClass{})
	if class.Spec.Controller != "ingress.k8s.aws/alb" || len(class.OwnerReferences) > 0 {
		t.Errorf("IngressClass: %+v", class)
	}
	if in := get(t, c, types.NamespacedName{Namespace: ns, Name: "a-" + ns}, &networkingv1.Ingress{}); *in.Spec.IngressClassName != class.Name {
		t.Errorf("the Ingress has the class %s", *in.Spec.IngressClassName)
	}
	says(t, c, types.NamespacedName{Namespace: ns, Name: "b-" + ns}, v1beta1.ConditionStalled, v1beta1.ReasonIngressClassInvalid)
	if kept := get(t, c, types.NamespacedName{Name: "b-" + ns}, &networkingv1.IngressClass{}); kept.ResourceVersion != foreign.ResourceVersion {
		t.Error("somebody else's class was written")
	}
}

// TestJobServer adds a job server, gives it other labels, and takes it away.
func TestJobServer(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.JobServer = &v1beta1.JobServer{DedicatedJobServer: true} })
	stable(t, c, name)
	jobs := get(t, c, sibling(name, "-jobserver"), &appsv1.Deployment{})
	if jobs.Status.AvailableReplicas != 1 {
		t.Errorf("the installation is stable and its job server is not there: %+v", jobs.Status)
	}
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.ResourceLabels = map[string]string{"example.com/team": "a"} })
	stable(t, c, name)
	again := get(t, c, sibling(name, "-jobserver"), &appsv1.Deployment{})
	if again.UID == jobs.UID || again.Spec.Selector.MatchLabels["example.com/team"] != "a" {
		t.Errorf("the job server still selects by %v", again.Spec.Selector)
	}
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0" })
	stable(t, c, name)
	again = get(t, c, sibling(name, "-jobserver"), &appsv1.Deployment{})
	if image := again.Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":10.6.0") {
		t.Errorf("the job server runs %s", image)
	}
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.JobServer = nil })
	stable(t, c, name)
	gone(t, c, sibling(name, "-jobserver"), &appsv1.Deployment{})
}

// TestLocalFileStore: a claim is made, grows, cannot shrink, and outlives the
// resource, unless it is said that it shall not.
func TestLocalFileStore(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	secrets(t, c, ns)
	mm := example(ns, "chat")
	mm.Spec.FileStore = v1beta1.FileStore{Local: &v1beta1.LocalFileStore{Enabled: true, StorageSize: "1Gi"}}
	if err := c.Create(t.Context(), mm.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	name := client.ObjectKeyFromObject(mm)
	stable(t, c, name)
	says(t, c, name, v1beta1.ConditionFileStoreReady, v1beta1.ReasonConfigured)
	claim := get(t, c, name, &corev1.PersistentVolumeClaim{})

	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.FileStore.Local.StorageSize = "2Gi" })
	stable(t, c, name)
	eventually(t, func(context.Context) (string, error) {
		if have := get(t, c, name, &corev1.PersistentVolumeClaim{}).Status.Capacity[corev1.ResourceStorage]; have.Cmp(resource.MustParse("2Gi")) != 0 {
			return "the claim to have grown; it has " + have.String(), nil
		}
		return "", nil
	})

	before := versionsOf(t, c, name)
	for field, change := range map[string]func(*v1beta1.LocalFileStore){
		"storageSize": func(l *v1beta1.LocalFileStore) { l.StorageSize = "1Gi" },
		"accessModes": func(l *v1beta1.LocalFileStore) {
			l.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		},
		"storageClassName": func(l *v1beta1.LocalFileStore) { l.StorageClassName = new("other") },
	} {
		good := mm.Spec.FileStore.Local.DeepCopy()
		good.StorageSize = "2Gi"
		edit(t, c, name, func(mm *v1beta1.Mattermost) { change(mm.Spec.FileStore.Local) })
		condition := says(t, c, name, v1beta1.ConditionFileStoreReady, v1beta1.ReasonClaimImmutable)
		if !strings.Contains(condition.Message, "spec.fileStore.local."+field) || !strings.Contains(condition.Message, `"chat"`) {
			t.Errorf("the message does not name the field and the claim: %s", condition.Message)
		}
		edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.FileStore.Local = good })
		stable(t, c, name)
	}
	if after := versionsOf(t, c, name); after != before {
		t.Errorf("what cannot be done was tried: %s before, %s after", before, after)
	}

	if err := c.Delete(t.Context(), mm.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) (string, error) { return nothingLeft(ctx, c, name) })
	if kept := get(t, c, name, &corev1.PersistentVolumeClaim{}); kept.UID != claim.UID || kept.DeletionTimestamp != nil {
		t.Fatal("the files went with the resource")
	}

	// The same name finds its files again, whatever size and modes it asks for not.
	mm.Spec.FileStore.Local = &v1beta1.LocalFileStore{Enabled: true}
	mm.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: "Delete"}
	if err := c.Create(t.Context(), mm.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	stable(t, c, name)
	if found := get(t, c, name, &corev1.PersistentVolumeClaim{}); found.UID != claim.UID || len(found.OwnerReferences) != 1 {
		t.Errorf("the claim was not taken over: %+v", found.ObjectMeta)
	}
	if err := c.Delete(t.Context(), mm.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	gone(t, c, name, &corev1.PersistentVolumeClaim{})
}

// versionsOf tells whether the claim or the Deployment was written.
func versionsOf(t testing.TB, c client.Client, name types.NamespacedName) string {
	t.Helper()
	claim, deployment := get(t, c, name, &corev1.PersistentVolumeClaim{}), get(t, c, name, &appsv1.Deployment{})
	return fmt.Sprintf("claim %s, Deployment %d", claim.ResourceVersion, deployment.Generation)
}

// TestExternalClaim: a claim that does not exist is named, and waited for.
func TestExternalClaim(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.FileStore = v1beta1.FileStore{ExternalVolume: &v1beta1.ExternalVolumeFileStore{VolumeClaimName: "files"}}
	})
	if c := says(t, c, name, v1beta1.ConditionStalled, v1beta1.ReasonClaimNotFound); !strings.Contains(c.Message, `"files"`) {
		t.Errorf("the message does not name the claim: %s", c.Message)
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "files"}}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	if err := c.Create(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	stable(t, c, name)
	if kept := get(t, c, client.ObjectKeyFromObject(claim), &corev1.PersistentVolumeClaim{}); len(kept.OwnerReferences) > 0 || len(kept.Labels) > 0 {
		t.Errorf("somebody else's claim was written: %+v", kept.ObjectMeta)
	}
}

// TestResourcePatch: a patch is applied; one that went bad changes nothing; one
// that never was good leaves the object without it; what is forbidden is judged
// by its result.
func TestResourcePatch(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	patch := func(text string) {
		edit(t, c, name, func(mm *v1beta1.Mattermost) {
			mm.Spec.ResourcePatch = &v1beta1.ResourcePatch{Deployment: &v1beta1.Patch{Patch: text}}
		})
	}
	patch(`[{"op":"replace","path":"/spec/template/spec","value":{"hostNetwork":true,"containers":[]}}]`)
	if mm := stable(t, c, name); mm.Status.ResourcePatch == nil || !strings.Contains(mm.Status.ResourcePatch.DeploymentPatch.Error, "hostNetwork") {
		t.Errorf("status: %+v", mm.Status.ResourcePatch)
	}
	says(t, c, name, v1beta1.ConditionResourcesPatched, v1beta1.ReasonPatchFailed)

	patch(`[{"op":"add","path":"/spec/template/spec/terminationGracePeriodSeconds","value":90}]`)
	if mm := stable(t, c, name); !mm.Status.ResourcePatch.DeploymentPatch.Applied {
		t.Errorf("status: %+v", mm.Status.ResourcePatch.DeploymentPatch)
	}
	good := get(t, c, name, &appsv1.Deployment{})
	if seconds := *good.Spec.Template.Spec.TerminationGracePeriodSeconds; seconds != 90 {
		t.Errorf("the grace period is %d s, want the patch's 90", seconds)
	}

	patch(`[{"op":"ad`)
	says(t, c, name, v1beta1.ConditionStalled, v1beta1.ReasonPatchFailed)
	if kept := get(t, c, name, &appsv1.Deployment{}); kept.Generation != good.Generation {
		t.Error("a slip of the pen rolled the pods")
	}

	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.ResourcePatch = nil })
	if mm := stable(t, c, name); mm.Status.ResourcePatch != nil || meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionResourcesPatched) != nil {
		t.Errorf("status: %+v", mm.Status)
	}
	if seconds := *get(t, c, name, &appsv1.Deployment{}).Spec.Template.Spec.TerminationGracePeriodSeconds; seconds != 60 {
		t.Errorf("the grace period is %d s without the patch, want the standard shape's 60", seconds)
	}
}

// TestSharedHost: two installations with one host are told of each other, and no
// longer when one of them moves.
func TestSharedHost(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	one, other := create(t, c, ns, "one"), create(t, c, ns, "other")
	edit(t, c, other, func(mm *v1beta1.Mattermost) {
		mm.Spec.Ingress.Hosts = []v1beta1.IngressHost{{HostName: "one.example.com"}}
	})
	for name, also := range map[types.NamespacedName]types.NamespacedName{one: other, other: one} {
		said := says(t, c, name, v1beta1.ConditionSpecWarnings, v1beta1.ReasonAmbiguous)
		if !strings.Contains(said.Message, "one.example.com") || !strings.Contains(said.Message, also.String()) {
			t.Errorf("%s is told: %s", name, said.Message)
		}
		stable(t, c, name) // It is served all the same.
	}
	edit(t, c, other, func(mm *v1beta1.Mattermost) { mm.Spec.Ingress.Hosts = nil })
	for _, name := range []types.NamespacedName{one, other} {
		eventually(t, func(ctx context.Context) (string, error) {
			var mm v1beta1.Mattermost
			err := c.Get(ctx, name, &mm)
			if said := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionSpecWarnings); said != nil {
				return "no warning; it says: " + said.Message, err
			}
			return "", err
		})
	}
}
