// Package lead runs controllers while, and only while, a lease is held. One
// process may hold several leases, each for its own group of controllers: so
// a group can share its lease with another program that does the same job, and
// the two never act together.
package lead

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// ErrLost is returned when the lease was lost. The process has to end: whoever
// has the lease now is acting already.
var ErrLost = errors.New("lease lost")

// Timing is how leases are held. The defaults are Kubernetes' own, and those of
// the Mattermost Operator with which a lease may be shared.
type Timing struct {
	Duration, RenewDeadline, RetryPeriod time.Duration
}

// DefaultTiming is 15 s, 10 s and 2 s.
var DefaultTiming = Timing{Duration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second}

// Group is a set of runnables behind one lease.
type Group struct {
	Lease types.NamespacedName
	// Identity is this process among the contenders; unique in the cluster.
	Identity  string
	Config    *rest.Config
	Timing    Timing
	Runnables []manager.Runnable
	// Elected is called, if set, when the lease was won and before anything runs.
	Elected func()
}

// NeedLeaderElection tells the manager to start the group at once: it does its
// own election.
func (g *Group) NeedLeaderElection() bool { return false }

// Start contends for the lease until ctx ends, and runs the group while it has
// it. On the way out the runnables end first and the lease is given up last, so
// that the next holder never meets one of them.
func (g *Group) Start(ctx context.Context) error {
	log := ctrl.LoggerFrom(ctx).WithName("lead").WithValues("Lease", g.Lease.String())
	ctx = ctrl.LoggerInto(ctx, log)
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, g.Lease.Namespace, g.Lease.Name,
		resourcelock.ResourceLockConfig{Identity: g.Identity}, g.Config, g.Timing.RenewDeadline)
	if err != nil {
		return fmt.Errorf("lease %s: %w", g.Lease, err)
	}
	// The election outlives ctx until the runnables have ended.
	election, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	started, ran := make(chan struct{}), make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            lock,
		Name:            g.Lease.Name,
		LeaseDuration:   g.Timing.Duration,
		RenewDeadline:   g.Timing.RenewDeadline,
		RetryPeriod:     g.Timing.RetryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				close(started)
				err := g.run(ctx, leading)
				if leading.Err() != nil && election.Err() == nil {
					err = errors.Join(fmt.Errorf("%w: %s", ErrLost, g.Lease), err)
				}
				ran <- err
				giveUp()
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != g.Identity {
					log.Info("Waiting for the lease", "holder", identity)
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("lease %s: %w", g.Lease, err)
	}
	// Before the lease is won there is nothing that has to end first.
	defer context.AfterFunc(ctx, func() {
		select {
		case <-started:
		default:
			giveUp()
		}
	})()
	elector.Run(election)
	select {
	case <-started:
		return <-ran
	default:
		return nil // Never led.
	}
}

// run runs the group until it is told to stop or no longer leads, and returns
// when everything has ended.
func (g *Group) run(ctx, leading context.Context) error {
	if ctx.Err() != nil {
		return nil // Won while being stopped: nothing may start any more.
	}
	log := ctrl.LoggerFrom(ctx)
	log.Info("Holding the lease")
	if g.Elected != nil {
		g.Elected()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(leading, cancel)()
	group, ctx := errgroup.WithContext(ctx)
	for _, runnable := range g.Runnables {
		group.Go(func() error { return runnable.Start(ctx) })
	}
	err := group.Wait()
	log.Info("Stopped acting under the lease")
	return err
}
