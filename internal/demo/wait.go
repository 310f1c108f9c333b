package demo

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
)

// look is how often the cluster is looked at while waiting.
const look = 100 * time.Millisecond

// until waits until nothing is awaited any more; check says what still is.
func (d *Demo) until(ctx context.Context, check func(context.Context) (awaited string, err error)) error {
	awaited := ""
	err := wait.PollUntilContextTimeout(ctx, look, deadline, true, func(ctx context.Context) (bool, error) {
		var err error
		awaited, err = check(ctx)
		return awaited == "", err
	})
	if err != nil && awaited != "" {
		return fmt.Errorf("waited for %s: %w", awaited, err)
	}
	return err
}

// watch shows the fleet until nothing is awaited any more.
func (d *Demo) watch(ctx context.Context, awaited func(map[string]*v1beta1.Mattermost) string) error {
	if d.lastSeen == nil {
		d.lastSeen = map[string]string{}
	}
	v := newView(d.Out, d.Clock.Now(), d.lastSeen)
	return d.until(ctx, func(ctx context.Context) (string, error) {
		var list v1beta1.MattermostList
		if err := d.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return "", err
		}
		v.show(list.Items, d.Clock.Now())
		fleet := map[string]*v1beta1.Mattermost{}
		for i := range list.Items {
			fleet[list.Items[i].Name] = &list.Items[i]
		}
		return awaited(fleet), nil
	})
}

func (d *Demo) stable(ctx context.Context, name string) error {
	return d.watch(ctx, func(fleet map[string]*v1beta1.Mattermost) string {
		if mm := fleet[name]; mm.Status.State != v1beta1.Stable || mm.Status.ObservedGeneration != mm.Generation {
			return name + " to become stable"
		}
		return ""
	})
}

func (d *Demo) stableAt(ctx context.Context, name, version string) error {
	return d.watch(ctx, func(fleet map[string]*v1beta1.Mattermost) string {
		mm := fleet[name]
		if mm.Status.State != v1beta1.Stable || mm.Status.Version != version || mm.Status.ObservedGeneration != mm.Generation {
			return name + " to become stable at " + version
		}
		return ""
	})
}

func (d *Demo) get(ctx context.Context, name string, mm *v1beta1.Mattermost) error {
	return d.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, mm)
}

func (d *Demo) setVersion(ctx context.Context, name, version string) error {
	var mm v1beta1.Mattermost
	if err := d.get(ctx, name, &mm); err != nil {
		return err
	}
	patch := client.MergeFrom(mm.DeepCopy())
	mm.Spec.Version = version
	return d.Client.Patch(ctx, &mm, patch)
}

// lowestAvailable looks at a Deployment's available pods all the while and
// returns the lowest number seen.
func (d *Demo) lowestAvailable(ctx context.Context, name string, during func(context.Context) error) (int32, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type seen struct {
		lowest int32
		err    error
	}
	first, done := make(chan struct{}), make(chan seen, 1)
	go func() {
		result := seen{lowest: -1}
		result.err = wait.PollUntilContextCancel(ctx, look/2, true, func(ctx context.Context) (bool, error) {
			var deployment appsv1.Deployment
			err := d.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &deployment)
			if err != nil {
				return false, err
			}
			if result.lowest < 0 {
				close(first)
			}
			if result.lowest < 0 || deployment.Status.AvailableReplicas < result.lowest {
				result.lowest = deployment.Status.AvailableReplicas
			}
			return false, nil
		})
		done <- result
	}()
	select {
	case <-first:
	case result := <-done:
		return 0, result.err
	}
	err := during(ctx)
	cancel()
	result := <-done
	if err == nil && !wait.Interrupted(result.err) && ctx.Err() == nil {
		err = result.err
	}
	return result.lowest, err
}
