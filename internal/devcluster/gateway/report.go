package gateway

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// reporters is how many statuses are written at once.
const reporters = 8

// report writes the status of each plan that is in effect; those between are left out.
func (g *Gateway) report(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.reports:
			if err := g.write(ctx, g.effect.Load()); err != nil {
				time.AfterFunc(again, g.changed)
			}
		}
	}
}

// write stores every status that says something else than the stored one.
func (g *Gateway) write(ctx context.Context, e *effect) error {
	api, now, options := g.options.Resources.GatewayV1(), metav1.Now(), metav1.UpdateOptions{}
	var all errgroup.Group
	all.SetLimit(reporters)
	for _, class := range e.plan.classes {
		if status := classStatus(class, now); g.fresh(class) && !equality.Semantic.DeepEqual(status, class.Status) {
			all.Go(func() error {
				stored, err := api.GatewayClasses().UpdateStatus(ctx, with(class.DeepCopy(), func(o *gatewayv1.GatewayClass) { o.Status = status }), options)
				return g.wrote(class, stored, err)
			})
		}
	}
	for _, one := range e.plan.gateways {
		if status := one.status(e.opened, now); g.fresh(one.gateway) && !equality.Semantic.DeepEqual(status, one.gateway.Status) {
			all.Go(func() error {
				o := with(one.gateway.DeepCopy(), func(o *gatewayv1.Gateway) { o.Status = status })
				stored, err := api.Gateways(o.Namespace).UpdateStatus(ctx, o, options)
				return g.wrote(one.gateway, stored, err)
			})
		}
	}
	for _, one := range e.plan.routes {
		if status := one.status(now); g.fresh(one.route) && !equality.Semantic.DeepEqual(status, one.route.Status.RouteStatus) {
			all.Go(func() error {
				o := with(one.route.DeepCopy(), func(o *gatewayv1.HTTPRoute) { o.Status.RouteStatus = status })
				stored, err := api.HTTPRoutes(o.Namespace).UpdateStatus(ctx, o, options)
				return g.wrote(one.route, stored, err)
			})
		}
	}
	err := all.Wait()
	g.forget(e.plan)
	return err
}

// fresh is false of a version that is known to be an old one. Plans that were made before a
// status was stored still have it, and could only conflict; what is stored makes a new plan.
func (g *Gateway) fresh(o metav1.Object) bool {
	old, ok := g.old.Load(o.GetUID())
	return !ok || old != o.GetResourceVersion()
}

// wrote remembers a version that is not the latest any more, as the answer to a write says.
func (g *Gateway) wrote(o, stored metav1.Object, err error) error {
	if apierrors.IsConflict(err) || err == nil && stored.GetResourceVersion() != o.GetResourceVersion() {
		g.old.Store(o.GetUID(), o.GetResourceVersion())
	}
	return changedSince(err)
}

// forget drops the versions of objects that a plan has no more.
func (g *Gateway) forget(p *plan) {
	here := map[types.UID]bool{}
	for _, class := range p.classes {
		here[class.UID] = true
	}
	for _, one := range p.gateways {
		here[one.gateway.UID] = true
	}
	for _, one := range p.routes {
		here[one.route.UID] = true
	}
	g.old.Range(func(uid, _ any) bool {
		if !here[uid.(types.UID)] {
			g.old.Delete(uid)
		}
		return true
	})
}

func with[T any](object T, change func(T)) T {
	change(object)
	return object
}

// changedSince takes away what a newer plan makes good: the object has changed, or is gone.
func changedSince(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
