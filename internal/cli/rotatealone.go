package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/install"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/manager"
)

// standalone is a run whose controller is this process.
type standalone struct {
	on          bool
	autoScaling []string
	eks         []string
	region      string
	file        string
	resume      string
}

func (a *standalone) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&a.on, "standalone", false, "run the controller in this process until the run ends; nothing has to be installed")
	flags.StringSliceVar(&a.autoScaling, "auto-scaling-group", nil, "with --standalone: `NAME` of a group of EC2 Auto Scaling")
	flags.StringSliceVar(&a.eks, "eks", nil, "with --standalone: `CLUSTER/NODEGROUP` of a managed node group of EKS")
	flags.StringVar(&a.region, "region", "", "with --auto-scaling-group and --eks: their `REGION`")
	flags.StringVar(&a.file, "groups", "", "with --standalone: `FILE` with manifests of NodeGroups")
	flags.StringVar(&a.resume, "resume", "", "with --standalone: go on with the run `NAME`")
}

// names is how many groups the flags name.
func (a *standalone) names() int { return len(a.autoScaling) + len(a.eks) }

// check says what is wrong with the flags before any cluster is asked.
func (a *standalone) check(args []string, s startFlags, given func(string) bool) error {
	named := a.names() > 0 || a.file != ""
	if a.on {
		return a.checkOn(named, len(args) > 0, s, given)
	}
	if named || a.region != "" || a.resume != "" {
		return usageError{errors.New("--auto-scaling-group, --eks, --region, --groups and --resume are for --standalone: without it, make NodeGroups")}
	}
	return nil
}

// checkOn is check with --standalone.
func (a *standalone) checkOn(named, chosen bool, s startFlags, given func(string) bool) error {
	wrong := func(text string) error { return usageError{errors.New(text)} }
	switch {
	case given("cluster"): // The run's own flags say what is wrong with it.
	case a.names() > 0 && a.region == "":
		return wrong("say in which --region the groups are")
	case a.resume != "" && (named || chosen || s.name != ""):
		return wrong("--resume goes on with a run as it is: leave the groups and --name out")
	case a.resume == "" && !named && !chosen:
		return wrong("say which groups: --auto-scaling-group NAME, --eks CLUSTER/NODEGROUP, --groups FILE, or names of NodeGroups that there are")
	}
	return nil
}

// run is the whole of it: definitions, groups, the controller, the run.
func (a *standalone) run(cmd *cobra.Command, t *target, c client.Client, r *runFlags, s *startFlags) error {
	ctx, told := cmd.Context(), &serialWriter{to: cmd.ErrOrStderr()}
	cmd.SetErr(told) // The controller writes its log there too.
	if err := leaseFree(ctx, c); err != nil {
		return err
	}
	if err := define(ctx, c, told); err != nil {
		return err
	}
	run, err := a.prepare(cmd, c, r)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	ended, err := control(ctx, stop, t, told)
	if err != nil {
		return err
	}
	// Whatever happens, the controller lets go of the lease before the program ends.
	defer func() { stop(nil); <-ended }()
	err = a.carryOut(ctx, cmd, c, run, s)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	if err != nil && run.Name != "" && run.Status.StartedAt != nil && run.Status.FinishedAt == nil {
		say(told, "NodeRotation %s waits as it is: nothing is half done, and open nodes stay cordoned", run.Name)
		say(told, "  go on: windlass rotate start --standalone --resume %s", run.Name)
		say(told, "  or end it: windlass rotate abort %s, and then go on, so that open nodes are given back", run.Name)
	}
	return err
}

// serialWriter lets several write whole lines to one writer.
type serialWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *serialWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(line)
}

// prepare finds the run that goes on, or describes a new one.
func (a *standalone) prepare(cmd *cobra.Command, c client.Client, r *runFlags) (*v1alpha1.NodeRotation, error) {
	ctx, told := cmd.Context(), cmd.ErrOrStderr()
	if a.resume != "" {
		return findRun(ctx, c, []string{a.resume})
	}
	groups, err := a.groups(ctx, c, cmd.InOrStdin(), told)
	if err != nil {
		return nil, err
	}
	return r.rotation(ctx, c, append(groups, cmd.Flags().Args()...), told)
}

// carryOut begins the run, unless it goes on, and follows it to its end.
func (a *standalone) carryOut(ctx context.Context, cmd *cobra.Command, c client.Client, run *v1alpha1.NodeRotation, s *startFlags) error {
	if s.dryRun {
		return printPlan(cmd, c, run, &output{})
	}
	if a.resume == "" {
		if err := s.create(ctx, c, run); err != nil {
			return err
		}
		say(cmd.ErrOrStderr(), "NodeRotation %s was made", run.Name)
	}
	if err := awaitSeen(ctx, c, run); err != nil {
		return err
	}
	if err := refused(ctx, c, run); err != nil {
		return err
	}
	return follow(ctx, c, run, cmd.OutOrStdout())
}

// define applies what the cluster lacks of our kinds, and says so.
func define(ctx context.Context, c client.Client, told io.Writer) error {
	served, err := kit.Served(c.RESTMapper(), kit.Kind{GroupVersionKind: v1alpha1.GroupVersion.WithKind("NodeRotation")})
	if err != nil {
		return err
	}
	// The lease is in the namespace.
	home := c.Get(ctx, types.NamespacedName{Name: install.Namespace}, &corev1.Namespace{})
	if client.IgnoreNotFound(home) != nil {
		return fmt.Errorf("read namespace %s: %w", install.Namespace, home)
	}
	if served && home == nil {
		return nil
	}
	objects, err := install.Definitions(v1alpha1.GroupVersion.Group)
	if err != nil {
		return err
	}
	say(told, "The cluster lacks what node rotations need; applying the definitions of %s:", v1alpha1.GroupVersion.Group)
	return apply(ctx, c, objects, told)
}

// holding is how the controller's lease is held.
func holding() config.Configuration {
	cfg := config.Default()
	cfg.Installations.Disabled, cfg.Fleet.Disabled = true, true
	cfg.Metrics.Address, cfg.Health.Address = "0", "0"
	return cfg
}

// leaseFree says who has the lease of the controller, as an error; nil if nobody does. It
// takes as long as a holder that lives needs to renew it.
func leaseFree(ctx context.Context, c client.Client) error {
	cfg := holding()
	name := types.NamespacedName(cfg.Rotations.Lease)
	var first *coordinationv1.Lease
	return wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
		lease := &coordinationv1.Lease{}
		if err := c.Get(ctx, name, lease); err != nil {
			return true, client.IgnoreNotFound(err)
		}
		spec := &lease.Spec
		if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.RenewTime == nil {
			return true, nil
		}
		if first == nil {
			first = lease
		}
		if !first.Spec.RenewTime.Equal(spec.RenewTime) {
			return false, fmt.Errorf("lease %s is held by %s: a Windlass runs that does the same job; leave --standalone out, or stop that one", name, *spec.HolderIdentity)
		}
		lasts := cfg.Leases.Duration.Duration
		if spec.LeaseDurationSeconds != nil {
			lasts = time.Duration(*spec.LeaseDurationSeconds) * time.Second
		}
		// Whoever held it is gone. The election makes sure by itself.
		return time.Now().After(spec.RenewTime.Add(lasts)), nil
	})
}

// control runs the controller until ctx ends, and returns when it acts. If it ends by
// itself it stops what it was started for; ended is closed when it has ended.
func control(ctx context.Context, stop context.CancelCauseFunc, t *target, told io.Writer) (ended <-chan struct{}, err error) {
	rest, err := t.config().ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to talk to: %w", err)
	}
	cfg := holding()
	log := logr.FromSlogHandler(slog.NewTextHandler(told, &slog.HandlerOptions{Level: slog.LevelError}))
	elected, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		// Nobody asks for its metrics, so they need not be those of the process.
		err := manager.Run(ctrl.LoggerInto(ctx, log), cfg, rest, manager.Hooks{Registry: prometheus.NewRegistry(), Elected: func(lease config.Lease) {
			if lease == cfg.Rotations.Lease {
				close(elected)
			}
		}})
		stop(fmt.Errorf("the controller ended: %w", cmp.Or(err, context.Canceled)))
	}()
	// Who held the lease and died has it for its duration, as the election sees it.
	patience := time.NewTimer(2 * cfg.Leases.Duration.Duration)
	defer patience.Stop()
	select {
	case <-elected:
		return gone, nil
	case <-gone:
		return nil, context.Cause(ctx)
	case <-patience.C:
		stop(nil)
		<-gone
		return nil, fmt.Errorf("lease %s/%s could not be had: somebody else took it; leave --standalone out", cfg.Rotations.Lease.Namespace, cfg.Rotations.Lease.Name)
	}
}
