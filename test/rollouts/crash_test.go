package rollouts

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"windlass.dev/api/fleet/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// TestCrashAfterEveryWrite kills Windlass after each write of a roll-out, and of the way
// back, and starts another one.
func TestCrashAfterEveryWrite(t *testing.T) {
	c := windlasstest.Client(t)
	stop := windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 2)
	stop()
	// survives does something while the n-th write is the last one, and says whether there
	// were as many.
	survives := func(t *testing.T, n int, r *v1alpha1.InstallationRollout, begin func(), end v1alpha1.Phase) bool {
		t.Helper()
		dead, hooks := dyingAfter(n)
		stop := windlass(t, hooks)
		begin()
		died := false
		err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
			select {
			case <-dead:
				died = true
				return true, nil
			default:
				err := c.Get(ctx, client.ObjectKeyFromObject(r), r)
				return err == nil && r.Status.Phase == end && r.Status.ObservedGeneration == r.Generation, err
			}
		})
		if err != nil {
			t.Fatalf("it neither ends nor dies: %v: %+v", err, r.Status)
		}
		stop()
		stop = windlass(t, manager.Hooks{})
		reaches(t, c, r, "at its end", phase(end))
		for i := range 2 {
			await(t, c, namespace, name(i), "stable", stable)
		}
		stop()
		return died
	}
	for n, more := 1, true; more; n++ {
		t.Run(fmt.Sprintf("write %d", n), func(t *testing.T) {
			before := map[int]v1beta1.MattermostSpec{}
			for i := range 2 {
				before[i] = await(t, c, namespace, name(i), "stable", stable).Spec
			}
			version := fmt.Sprintf("10.7.%d", n)
			r := &v1alpha1.InstallationRollout{}
			forth := survives(t, n, r, func() {
				*r = *rollout(t, c, fmt.Sprintf("crash-%d", n), namespace, v1alpha1.InstallationChange{Version: version, Restart: version}, v1alpha1.RolloutStrategy{MaxInFlight: number(1)})
			}, v1alpha1.Succeeded)
			for i := range 2 {
				mm := await(t, c, namespace, name(i), "updated", runs(version))
				if want := fmt.Sprintf(`"version":%q`, before[i].Version); !strings.Contains(mm.Annotations[v1alpha1.ChangeAnnotation], want) {
					t.Errorf("what it had before, %s, is not on record: %s", want, mm.Annotations[v1alpha1.ChangeAnnotation])
				}
			}
			back := survives(t, n, r, func() { edit(t, c, r, func() { r.Spec.End = v1alpha1.EndRollBack }) }, v1alpha1.RolledBack)
			for i := range 2 {
				mm := await(t, c, namespace, name(i), "as it was", runs(before[i].Version))
				if mm.Spec.PodTemplate != nil && len(mm.Spec.PodTemplate.ExtraAnnotations) > 0 {
					t.Errorf("what was not there before is still there: %v", mm.Spec.PodTemplate)
				}
			}
			more = (forth || back) && !t.Failed()
		})
		if n == 1 && !more {
			t.Error("nothing was ever written")
		}
	}
}

// dyingAfter lets n writes of the roll-outs' controller pass, and none of anybody afterwards.
func dyingAfter(n int) (dead <-chan struct{}, hooks manager.Hooks) {
	over, count := make(chan struct{}), atomic.Int32{}
	count.Store(int32(n))
	died := apierrors.NewInternalError(context.Canceled)
	passes := func(manager string) bool {
		if !strings.HasPrefix(manager, v1alpha1.Manager) {
			return count.Load() > 0
		}
		left := count.Add(-1)
		if left == 0 {
			defer close(over)
		}
		return left >= 0
	}
	hooks.WrapClient = func(c client.WithWatch) client.WithWatch {
		return interceptor.NewClient(c, interceptor.Funcs{
			Apply: func(ctx context.Context, c client.WithWatch, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				if !passes((&client.ApplyOptions{}).ApplyOptions(opts).FieldManager) {
					return died
				}
				return c.Apply(ctx, object, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, object client.Object, patch client.Patch, opts ...client.PatchOption) error {
				if !passes((&client.PatchOptions{}).ApplyOptions(opts).FieldManager) {
					return died
				}
				return c.Patch(ctx, object, patch, opts...)
			},
			SubResourceApply: func(ctx context.Context, c client.Client, sub string, object runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
				if !passes((&client.SubResourceApplyOptions{}).ApplyOpts(opts).FieldManager) {
					return died
				}
				return c.SubResource(sub).Apply(ctx, object, opts...)
			},
		})
	}
	return over, hooks
}
