package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	pollwait "k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	gatewayinformers "sigs.k8s.io/gateway-api/pkg/client/informers/externalversions"
)

// watch fills the caches, and asks for a new plan when one changes.
func (g *Gateway) watch(starting, running context.Context) error {
	if err := g.awaitDefinitions(starting); err != nil {
		return err
	}
	cluster := informers.NewSharedInformerFactory(g.options.Client, 0)
	certificates := informers.NewSharedInformerFactoryWithOptions(g.options.Client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS)).String()
	}))
	authorities := informers.NewSharedInformerFactoryWithOptions(g.options.Client, 0, informers.WithTransform(onlyAuthorities), informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		// Every namespace has this one.
		o.FieldSelector = fields.OneTermNotEqualSelector("metadata.name", "kube-root-ca.crt").String()
	}))
	resources := gatewayinformers.NewSharedInformerFactory(g.options.Resources, 0).Gateway().V1()
	services, slices, namespaces := cluster.Core().V1().Services(), cluster.Discovery().V1().EndpointSlices(), cluster.Core().V1().Namespaces()
	configMaps := authorities.Core().V1().ConfigMaps()
	ingresses, secrets := cluster.Networking().V1().Ingresses(), certificates.Core().V1().Secrets()
	classes, gateways, routes, grants := resources.GatewayClasses(), resources.Gateways(), resources.HTTPRoutes(), resources.ReferenceGrants()
	var synced []cache.InformerSynced
	for _, informer := range []cache.SharedIndexInformer{
		services.Informer(), slices.Informer(), namespaces.Informer(), ingresses.Informer(), secrets.Informer(), configMaps.Informer(),
		classes.Informer(), gateways.Informer(), routes.Informer(), grants.Informer(),
	} {
		registered, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { g.changed() }, UpdateFunc: func(any, any) { g.changed() }, DeleteFunc: func(any) { g.changed() },
		})
		if err != nil {
			return err
		}
		synced = append(synced, registered.HasSynced)
		g.running.Go(func() { informer.RunWithContext(running) })
	}
	g.read = func() (w world, err error) {
		all := labels.Everything()
		var problems [10]error
		w.services, problems[0] = services.Lister().List(all)
		w.slices, problems[1] = slices.Lister().List(all)
		w.namespaces, problems[2] = namespaces.Lister().List(all)
		w.ingresses, problems[3] = ingresses.Lister().List(all)
		w.secrets, problems[4] = secrets.Lister().List(all)
		w.classes, problems[5] = classes.Lister().List(all)
		w.gateways, problems[6] = gateways.Lister().List(all)
		w.routes, problems[7] = routes.Lister().List(all)
		w.grants, problems[8] = grants.Lister().List(all)
		w.configMaps, problems[9] = configMaps.Lister().List(all)
		return w, errors.Join(problems[:]...)
	}
	if !cache.WaitForCacheSync(starting.Done(), synced...) {
		return fmt.Errorf("wait for the cluster's routes: %w", starting.Err())
	}
	return nil
}

// onlyAuthorities keeps of a ConfigMap what authorities sign with: others may have a
// megabyte of something else.
func onlyAuthorities(object any) (any, error) {
	c, ok := object.(*corev1.ConfigMap)
	if !ok {
		return object, nil
	}
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion}}
	if authorities, ok := c.Data[authorityKey]; ok {
		kept.Data = map[string]string{authorityKey: authorities}
	}
	return kept, nil
}

// awaitDefinitions waits until the API server serves the Gateway API: a new definition takes
// a moment.
func (g *Gateway) awaitDefinitions(ctx context.Context) error {
	api, one := g.options.Resources.GatewayV1(), metav1.ListOptions{Limit: 1}
	var problem error
	err := pollwait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		var problems [4]error
		_, problems[0] = api.GatewayClasses().List(ctx, one)
		_, problems[1] = api.Gateways("").List(ctx, one)
		_, problems[2] = api.HTTPRoutes("").List(ctx, one)
		_, problems[3] = api.ReferenceGrants("").List(ctx, one)
		problem = errors.Join(problems[:]...)
		return problem == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the Gateway API: %w", errors.Join(err, problem))
	}
	return nil
}
