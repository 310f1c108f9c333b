package cloudtest

import (
	"context"
	"errors"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

var errCrash = errors.New("crashed")

// Client is a client of an API server whose owner can crash, for providers whose groups are
// objects: its method Crash is what a Harness wants.
type Client struct {
	client.WithWatch

	mu             sync.Mutex
	armed, crashed bool
	left           int // writes before the crash
	done           bool
}

// NewClient makes one of another.
func NewClient(c client.WithWatch) *Client {
	crashing := &Client{}
	crashing.WithWatch = interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			return crashing.read(func() error { return c.Get(ctx, key, o, options...) })
		},
		List: func(ctx context.Context, c client.WithWatch, o client.ObjectList, options ...client.ListOption) error {
			return crashing.read(func() error { return c.List(ctx, o, options...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			return crashing.write(func() error { return c.Create(ctx, o, options...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return crashing.write(func() error { return c.Delete(ctx, o, options...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			return crashing.write(func() error { return c.Update(ctx, o, options...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			return crashing.write(func() error { return c.Patch(ctx, o, p, options...) })
		},
	})
	return crashing
}

func (c *Client) read(do func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crashed {
		return errCrash
	}
	return do()
}

func (c *Client) write(do func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crashed {
		return errCrash
	}
	if c.armed && c.left == 0 {
		c.crashed = true
		if c.done {
			if err := do(); err != nil {
				return err
			}
		}
		return errCrash
	}
	c.left--
	return do()
}

// Crash is Harness.Crash.
func (c *Client) Crash(after int, done bool) (recovered func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.left, c.done = true, after, done
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		crashed := c.crashed
		c.armed, c.crashed = false, false
		return crashed
	}
}
