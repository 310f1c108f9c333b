package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/rotation"
)

// rotateOwner is the field manager of what the commands write.
const rotateOwner = "windlass-rotate"

// What bounds the waits of the commands.
const (
	// unseenAfter is how long a run may be without a phase; a controller gives it one at once.
	unseenAfter = 10 * time.Second
	// planPatience is how long a dry run may take: providers are asked for every machine.
	planPatience = 2 * time.Minute
	// lookEvery is how often a command looks at what it waits for.
	lookEvery = 500 * time.Millisecond
)

func rotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the nodes of a cluster, and watch, pause or end that",
		Long: `Replace the nodes that do not run what they should, one NodeRotation for each run.
A run is in the cluster and goes on without the command that began it: whoever may
read NodeRotations can watch it, and whoever may change them can pause or end it.`,
		Example: `  windlass rotate plan
  windlass rotate start apps --canary 1 --canary-bake 10m --wait
  windlass rotate status
  windlass rotate pause`,
		PersistentPreRun: func(*cobra.Command, []string) {
			// Clients log what answers warn of; it would disturb what is shown.
			ctrl.SetLogger(logr.Discard())
		},
	}
	cmd.AddCommand(rotatePlanCommand(), rotateStartCommand(), rotateStatusCommand(), rotateWatchCommand())
	cmd.AddCommand(rotateVerbCommands()...)
	return cmd
}

// exampleGroup is what somebody without any NodeGroup can begin with.
const exampleGroup = `apiVersion: nodes.windlass.dev/v1alpha1
kind: NodeGroup
metadata: {name: apps}
spec:
  provider:
    autoScaling: {name: apps, region: eu-central-1}`

var errNoGroups = errors.New("there are no NodeGroups: make one for each group of machines, such as\n\n" + exampleGroup)

// errUndefined is the error of a cluster that lacks the definitions, in fewer words.
type errUndefined struct{ error }

func (errUndefined) Error() string {
	return "the cluster does not know the kinds of nodes.windlass.dev"
}
func (e errUndefined) Unwrap() error { return e.error }

// asked says what an error of a request means to whoever typed the command.
func asked(what string, err error) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("%s: %w: run windlass install", what, errUndefined{err})
	}
	return fmt.Errorf("%s: %w", what, err)
}

// groupsOf are all NodeGroups; it is an error if there are none.
func groupsOf(ctx context.Context, c client.Client) ([]v1alpha1.NodeGroup, error) {
	var list v1alpha1.NodeGroupList
	if err := c.List(ctx, &list); err != nil {
		return nil, asked("list NodeGroups", err)
	}
	if len(list.Items) == 0 {
		return nil, errNoGroups
	}
	return list.Items, nil
}

// findRun is the run of that name, or without one the newest that is no dry run.
func findRun(ctx context.Context, c client.Client, args []string) (*v1alpha1.NodeRotation, error) {
	if len(args) > 0 {
		var run v1alpha1.NodeRotation
		if err := c.Get(ctx, types.NamespacedName{Name: args[0]}, &run); err != nil {
			if apierrors.IsNotFound(err) {
				return nil, fmt.Errorf("there is no NodeRotation %s; windlass rotate status without a name takes the newest", args[0])
			}
			return nil, asked("read NodeRotation "+args[0], err)
		}
		return &run, nil
	}
	var list v1alpha1.NodeRotationList
	if err := c.List(ctx, &list); err != nil {
		return nil, asked("list NodeRotations", err)
	}
	if newest := newestRun(list.Items); newest != nil {
		return newest, nil
	}
	return nil, errors.New("there are no NodeRotations: begin one with windlass rotate start")
}

func newestRun(runs []v1alpha1.NodeRotation) *v1alpha1.NodeRotation {
	var newest *v1alpha1.NodeRotation
	for i := range runs {
		r := &runs[i]
		if r.Spec.DryRun {
			continue
		}
		if newest == nil || newest.CreationTimestamp.Before(&r.CreationTimestamp) || newest.CreationTimestamp.Equal(&r.CreationTimestamp) && r.Name > newest.Name {
			newest = r
		}
	}
	return newest
}

// atMostOneRun is for commands that take the newest run without a name.
func atMostOneRun(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError{fmt.Errorf("%s wants at most one NAME, got %d", cmd.CommandPath(), len(args))}
	}
	return nil
}

// errUnseen says that nobody looks after runs of a kind.
type errUnseen struct{ kind, name, lease string }

// The leases of the controllers of runs, as they are named unless the configuration says
// otherwise.
const rotationLease, rolloutLease = "windlass-rotation", "windlass-rollouts"

func (e errUnseen) Error() string {
	return fmt.Sprintf(`no controller has looked at %s %s for %s: none runs, it waits for its lease, or Windlass is confined to namespaces
  kubectl -n windlass-system get pods,lease   # does Windlass run, and who holds %s?
  windlass run                                # or run it here`, e.kind, e.name, unseenAfter, e.lease)
}

// awaitSeen waits until a controller has looked at the run as it is.
func awaitSeen(ctx context.Context, c client.Client, run *v1alpha1.NodeRotation) error {
	err := awaitRun(ctx, c, run, unseenAfter, func() bool {
		return run.Status.Phase != "" && run.Status.ObservedGeneration >= run.Generation
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return errUnseen{kind: "NodeRotation", name: run.Name, lease: rotationLease}
	}
	return err
}

// awaitRun reads the run until done says so; the error is one for which wait.Interrupted
// holds if that takes too long.
func awaitRun(ctx context.Context, c client.Client, run *v1alpha1.NodeRotation, patience time.Duration, done func() bool) error {
	began := time.Now()
	return wait.PollUntilContextCancel(ctx, lookEvery/2, true, func(ctx context.Context) (bool, error) {
		if err := c.Get(ctx, client.ObjectKeyFromObject(run), run); err != nil {
			return false, asked("read NodeRotation "+run.Name, err)
		}
		if done() {
			return true, nil
		}
		if time.Since(began) > patience {
			return false, context.DeadlineExceeded
		}
		return false, nil
	})
}

// hopeless is why a run cannot begin, whatever its controller tries; nil if it can.
func hopeless(run *v1alpha1.NodeRotation) error {
	stalled := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionStalled)
	if run.Status.StartedAt != nil || stalled == nil {
		return nil
	}
	all := make([]error, 0, len(run.Status.Waits))
	for _, w := range run.Status.Waits {
		all = append(all, errors.New(waitSentence(w)))
	}
	if len(all) == 0 {
		all = append(all, errors.New(stalled.Message))
	}
	return errors.Join(all...)
}

// ended is the error of a run that ended otherwise than it should have; nil if it did not.
func ended(run *v1alpha1.NodeRotation) error {
	if !rotation.Finished(run.Status.Phase) || run.Status.Phase == v1alpha1.Succeeded || run.Status.Phase == v1alpha1.Planned {
		return nil
	}
	if run.Status.OutcomeMessage == "" {
		return fmt.Errorf("NodeRotation %s ended as %s", run.Name, run.Status.Phase)
	}
	return fmt.Errorf("NodeRotation %s ended as %s: %s", run.Name, run.Status.Phase, run.Status.OutcomeMessage)
}
