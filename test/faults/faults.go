// Package faults has a Windlass that a test runs go wrong.
package faults

import (
	"context"
	"errors"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"windlass.dev/internal/manager"
)

// Intercept calls around for each write, which may leave it out or hide its result.
func Intercept(around func(write string, do func() error) error) manager.Hooks {
	return manager.Hooks{WrapClient: func(c client.WithWatch) client.WithWatch {
		return interceptor.NewClient(c, interceptor.Funcs{
			Apply: func(ctx context.Context, c client.WithWatch, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				return around("apply", func() error { return c.Apply(ctx, object, opts...) })
			},
			Create: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.CreateOption) error {
				return around("create", func() error { return c.Create(ctx, object, opts...) })
			},
			Patch: func(ctx context.Context, c client.WithWatch, object client.Object, patch client.Patch, opts ...client.PatchOption) error {
				return around("patch", func() error { return c.Patch(ctx, object, patch, opts...) })
			},
			Update: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.UpdateOption) error {
				return around("update", func() error { return c.Update(ctx, object, opts...) })
			},
			Delete: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.DeleteOption) error {
				return around("delete", func() error { return c.Delete(ctx, object, opts...) })
			},
			SubResourceApply: func(ctx context.Context, c client.Client, sub string, object runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
				return around("apply "+sub, func() error { return c.SubResource(sub).Apply(ctx, object, opts...) })
			},
		})
	}}
}

// KillAfter lets a number of writes through and then nothing any more, as when
// the process is killed after the write and before its answer arrives. killed is
// closed then.
func KillAfter(writes int) (hooks manager.Hooks, killed <-chan struct{}) {
	dead := make(chan struct{})
	var mu sync.Mutex
	count := 0
	hooks = Intercept(func(_ string, do func() error) error {
		mu.Lock()
		defer mu.Unlock()
		if count >= writes {
			return errors.New("the process is dead")
		}
		err := do()
		count++
		if count == writes {
			close(dead)
			return errors.New("the process was killed")
		}
		return err
	})
	return hooks, dead
}
