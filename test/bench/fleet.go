package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/manager"
)

// pods is how many each installation has.
const pods = 1

// name is that of each installation, and of its Deployment.
const name = "chat"

// fleet is many installations, a namespace each.
type fleet struct {
	client      client.WithWatch
	n           int
	concurrency int
	// mixed has them use all modes in turn.
	mixed bool
}

func newFleet(config *rest.Config, o options) (*fleet, error) {
	scheme, err := manager.Scheme()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	return &fleet{client: c, n: o.n, concurrency: o.concurrency, mixed: o.mixed}, err
}

// each calls do for every installation, as many at once as there may be.
func (f *fleet) each(ctx context.Context, do func(ctx context.Context, namespace string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.concurrency)
	for i := range f.n {
		group.Go(func() error { return do(ctx, namespaceOf(i)) })
	}
	return group.Wait()
}

func namespaceOf(i int) string { return fmt.Sprintf("customer-%04d", i) }

// prepare makes what is there before any installation: namespaces and Secrets.
func (f *fleet) prepare(ctx context.Context) error {
	return f.each(ctx, func(ctx context.Context, namespace string) error {
		if err := f.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
			return err
		}
		for _, secret := range secretsOf(namespace) {
			if err := f.client.Create(ctx, secret); err != nil {
				return err
			}
		}
		return nil
	})
}

func secretsOf(namespace string) []*corev1.Secret {
	return []*corev1.Secret{
		{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db"}, StringData: map[string]string{"DB_CONNECTION_STRING": "postgres://example:example@db.example.com/mm"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fs"}, StringData: map[string]string{"accesskey": "example", "secretkey": "example"}},
	}
}

func mattermost(namespace string) *v1beta1.Mattermost {
	return &v1beta1.Mattermost{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1beta1.MattermostSpec{
			Version:   "10.5.2",
			Replicas:  new(int32(pods)),
			Ingress:   &v1beta1.Ingress{Enabled: true, Host: namespace + ".example.com"},
			Database:  v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
			FileStore: v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: namespace, Secret: "fs"}},
		},
	}
}

// modes are what a mixed fleet uses, in turn.
var modes = []func(*v1beta1.Mattermost){
	func(*v1beta1.Mattermost) {},
	func(mm *v1beta1.Mattermost) {
		mm.Annotations = map[string]string{v1beta1.ShapeAnnotation: string(v1beta1.ShapeStrict)}
	},
	func(mm *v1beta1.Mattermost) {
		mm.Spec.Database = v1beta1.Database{OperatorManaged: &v1beta1.OperatorManagedDatabase{Type: "postgres"}}
		mm.Spec.FileStore = v1beta1.FileStore{Local: &v1beta1.LocalFileStore{Enabled: true}}
	},
	func(mm *v1beta1.Mattermost) {
		mm.Spec.Database, mm.Spec.FileStore = v1beta1.Database{}, v1beta1.FileStore{} // MySQL and MinIO.
	},
	func(mm *v1beta1.Mattermost) { mm.Spec.UseServiceLoadBalancer = true },
	func(mm *v1beta1.Mattermost) {
		mm.Spec.AWSLoadBalancerController = &v1beta1.AWSLoadBalancerController{Enabled: true, IngressClassName: "alb", Hosts: []v1beta1.IngressHost{{HostName: "alb.example.com"}}}
	},
	func(mm *v1beta1.Mattermost) {
		mm.Spec.Ingress = nil
		mm.Spec.HTTPRoute = &v1beta1.HTTPRoute{Enabled: true, Host: "route.example.com", GatewayRef: &v1beta1.GatewayReference{Namespace: "default", Name: "public"}}
	},
	func(mm *v1beta1.Mattermost) { mm.Spec.JobServer = &v1beta1.JobServer{DedicatedJobServer: true} },
	func(mm *v1beta1.Mattermost) { mm.Spec.Replicas = new(int32(0)) },
	func(mm *v1beta1.Mattermost) {
		mm.Spec.ResourcePatch = &v1beta1.ResourcePatch{Deployment: &v1beta1.Patch{Patch: `[{"op":"add","path":"/spec/template/metadata/annotations","value":{"example.com/patched":"true"}}]`}}
	},
}

// create makes the resources that Windlass carries out.
func (f *fleet) create(ctx context.Context) error {
	mode := map[string]int{}
	for i := range f.n {
		mode[namespaceOf(i)] = i % len(modes)
	}
	return f.each(ctx, func(ctx context.Context, namespace string) error {
		mm := mattermost(namespace)
		if f.mixed {
			modes[mode[namespace]](mm)
		}
		return f.client.Create(ctx, mm)
	})
}

// render returns what Windlass applies for each installation, in the shape that it
// chooses or the one that all others have, with the owners
// that exist already.
func (f *fleet) render(ctx context.Context, others v1beta1.Shape) (map[string][]*unstructured.Unstructured, error) {
	var list v1beta1.MattermostList
	if err := f.client.List(ctx, &list); err != nil {
		return nil, err
	}
	all := map[string][]*unstructured.Unstructured{}
	for i := range list.Items {
		mm := &list.Items[i]
		shape := cmp.Or(v1beta1.Shape(mm.Annotations[v1beta1.ShapeAnnotation]), others)
		r, err := installation.Render(installation.Default(mm), facts(mm.Namespace), installation.RenderOptions{Shape: shape})
		if err != nil {
			return nil, err
		}
		all[mm.Namespace] = r.Objects
	}
	return all, nil
}

// facts are those about the Secrets of an installation.
func facts(namespace string) map[string]installation.Secret {
	all := map[string]installation.Secret{}
	for _, secret := range secretsOf(namespace) {
		secret.Data = map[string][]byte{}
		for key, value := range secret.StringData {
			secret.Data[key] = []byte(value)
		}
		all[secret.Name] = installation.FactsOf(installation.Redact(secret))
	}
	return all
}

// apply is the floor: a client that knows what to apply and does nothing else.
func (f *fleet) apply(ctx context.Context, objects map[string][]*unstructured.Unstructured) error {
	return f.each(ctx, func(ctx context.Context, namespace string) error {
		for _, object := range objects[namespace] {
			if err := f.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("floor"), client.ForceOwnership); err != nil {
				return err
			}
		}
		return nil
	})
}

// stuck is how long nothing may change.
const stuck = 10 * time.Minute

// until watches one kind until as many objects as there are installations are done, for as
// long as it moves.
func (f *fleet) until(ctx context.Context, gvk schema.GroupVersionKind, done func(*unstructured.Unstructured) bool) error {
	seen := map[string]bool{}
	lists := func() *unstructured.UnstructuredList {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		return list
	}
	list := lists()
	if err := f.client.List(ctx, list); err != nil {
		return err
	}
	for i := range list.Items {
		if list.Items[i].GetName() == name {
			seen[list.Items[i].GetNamespace()] = done(&list.Items[i])
		}
	}
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return f.client.Watch(ctx, lists(), &client.ListOptions{Raw: &options})
		},
	})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	late := time.NewTimer(stuck)
	defer late.Stop()
	for count(seen) < f.n {
		select {
		case event, open := <-watcher.ResultChan():
			if !open {
				return fmt.Errorf("%d of %d are done, and the watch has ended", count(seen), f.n)
			}
			late.Reset(stuck)
			if object, ok := event.Object.(*unstructured.Unstructured); ok && object.GetName() == name {
				seen[object.GetNamespace()] = done(object)
			}
		case <-late.C:
			return fmt.Errorf("%d of %d are done, and nothing changed for %s", count(seen), f.n, stuck)
		case <-ctx.Done():
			return fmt.Errorf("%d of %d are done: %w", count(seen), f.n, ctx.Err())
		}
	}
	return nil
}

func count(seen map[string]bool) int {
	n := 0
	for _, done := range seen {
		if done {
			n++
		}
	}
	return n
}

func stable(object *unstructured.Unstructured) bool {
	state, _, _ := unstructured.NestedString(object.Object, "status", "state")
	observed, _, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	return state == string(v1beta1.Stable) && observed == object.GetGeneration()
}

func available(object *unstructured.Unstructured) bool {
	wanted, _, _ := unstructured.NestedInt64(object.Object, "spec", "replicas")
	replicas, _, _ := unstructured.NestedInt64(object.Object, "status", "availableReplicas")
	observed, _, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	return replicas == wanted && observed == object.GetGeneration()
}
