package main

import (
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

// fleet is many installations, a namespace each.
type fleet struct {
	client      client.WithWatch
	n           int
	concurrency int
}

func newFleet(config *rest.Config, n, concurrency int) (*fleet, error) {
	scheme, err := manager.Scheme()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	return &fleet{client: c, n: n, concurrency: concurrency}, err
}

// each calls do for every installation, as many at once as there may be.
func (f *fleet) each(ctx context.Context, do func(ctx context.Context, namespace string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.concurrency)
	for i := range f.n {
		group.Go(func() error { return do(ctx, fmt.Sprintf("customer-%04d", i)) })
	}
	return group.Wait()
}

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
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "chat"},
		Spec: v1beta1.MattermostSpec{
			Version:   "10.5.2",
			Replicas:  new(int32(pods)),
			Ingress:   &v1beta1.Ingress{Enabled: true, Host: namespace + ".example.com"},
			Database:  v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
			FileStore: v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: namespace, Secret: "fs"}},
		},
	}
}

// create makes the resources that Windlass carries out.
func (f *fleet) create(ctx context.Context) error {
	return f.each(ctx, func(ctx context.Context, namespace string) error { return f.client.Create(ctx, mattermost(namespace)) })
}

// render returns what Windlass applies for each installation, with the owners
// that exist already.
func (f *fleet) render(ctx context.Context, shape v1beta1.Shape) (map[string][]*unstructured.Unstructured, error) {
	var list v1beta1.MattermostList
	if err := f.client.List(ctx, &list); err != nil {
		return nil, err
	}
	all := map[string][]*unstructured.Unstructured{}
	for i := range list.Items {
		mm := &list.Items[i]
		secrets := map[string]installation.Secret{}
		for _, secret := range secretsOf(mm.Namespace) {
			secret.Data = map[string][]byte{}
			for key, value := range secret.StringData {
				secret.Data[key] = []byte(value)
			}
			secrets[secret.Name] = installation.FactsOf(installation.Redact(secret))
		}
		r, err := installation.Render(installation.Default(mm), secrets, installation.RenderOptions{Shape: shape})
		if err != nil {
			return nil, err
		}
		all[mm.Namespace] = r.Objects
	}
	return all, nil
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

// until watches one kind until as many objects as there are installations are done.
func (f *fleet) until(ctx context.Context, gvk schema.GroupVersionKind, done func(*unstructured.Unstructured) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
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
		seen[list.Items[i].GetNamespace()] = done(&list.Items[i])
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
	for count(seen) < f.n {
		select {
		case event := <-watcher.ResultChan():
			if object, ok := event.Object.(*unstructured.Unstructured); ok {
				seen[object.GetNamespace()] = done(object)
			}
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
	replicas, _, _ := unstructured.NestedInt64(object.Object, "status", "availableReplicas")
	observed, _, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	return replicas == pods && observed == object.GetGeneration()
}
