package gateway

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		if status := classStatus(class, now); !equality.Semantic.DeepEqual(status, class.Status) {
			all.Go(func() error {
				_, err := api.GatewayClasses().UpdateStatus(ctx, with(class.DeepCopy(), func(o *gatewayv1.GatewayClass) { o.Status = status }), options)
				return changedSince(err)
			})
		}
	}
	for _, one := range e.plan.gateways {
		if status := one.status(e.opened, now); !equality.Semantic.DeepEqual(status, one.gateway.Status) {
			all.Go(func() error {
				o := with(one.gateway.DeepCopy(), func(o *gatewayv1.Gateway) { o.Status = status })
				_, err := api.Gateways(o.Namespace).UpdateStatus(ctx, o, options)
				return changedSince(err)
			})
		}
	}
	for _, one := range e.plan.routes {
		if status := one.status(now); !equality.Semantic.DeepEqual(status, one.route.Status.RouteStatus) {
			all.Go(func() error {
				o := with(one.route.DeepCopy(), func(o *gatewayv1.HTTPRoute) { o.Status.RouteStatus = status })
				_, err := api.HTTPRoutes(o.Namespace).UpdateStatus(ctx, o, options)
				return changedSince(err)
			})
		}
	}
	return all.Wait()
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
