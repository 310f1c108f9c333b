package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/rotation"
)

// startFlags are those of `rotate start` beside the run's own.
type startFlags struct {
	name         string
	wait, dryRun bool
}

func rotateStartCommand() *cobra.Command {
	var t target
	var o output
	var r runFlags
	var s startFlags
	var alone standalone
	cmd := &cobra.Command{
		Use:   "start [GROUP...]",
		Short: "Begin a run that replaces the outdated nodes of groups",
		Long: `Begin a run that replaces the outdated nodes of the NodeGroups, or of all. It goes on
in the cluster; --wait stays until it ends, with exit code 1 unless it succeeded.

With --standalone nothing has to be installed: the definitions of nodes.windlass.dev
are applied if the cluster lacks them, NodeGroups are made for the groups that are
named, and this process is the controller until the run ends. It holds the lease of
the controller, and refuses if somebody else does. After Ctrl-C nothing is lost: the
run waits in the cluster for --resume NAME, or for a controller that is installed.

Settings of mattermost/rotator are understood by their names; what has no effect is
told on standard error, with what takes its place.`,
		Example: `  windlass rotate start apps --max-surge 3 --canary 1 --canary-bake 10m
  windlass rotate start --window "0 22 * * 1-5 for 6h in Europe/Berlin" --wait

  # In a pipeline, with nothing installed
  windlass rotate start --standalone --auto-scaling-group apps --region eu-central-1 --max-surge 5
  windlass rotate start --standalone --eks prod/apps --region eu-central-1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := alone.check(args, s, cmd.Flags().Changed); err != nil {
				return err
			}
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			if alone.on {
				return alone.run(cmd, &t, c, &r, &s)
			}
			run, err := r.rotation(cmd.Context(), c, args, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if s.dryRun {
				return printPlan(cmd, c, run, &o)
			}
			if err := s.begin(cmd, c, run); err != nil {
				return err
			}
			if !s.wait {
				return nil
			}
			return follow(cmd.Context(), c, run, cmd.OutOrStdout())
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	cmd.Flags().Lookup("output").Usage = "print the plan of --dry-run as `json or yaml` instead of text"
	r.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&s.name, "name", "", "`NAME` of the run; otherwise one is made up")
	flags.BoolVar(&s.wait, "wait", false, "show what happens until the run ends")
	flags.BoolVar(&s.dryRun, "dry-run", false, "only say what would be done, as windlass rotate plan does")
	alone.addFlags(cmd)
	return cmd
}

// begin makes the run and waits until a controller has looked at it.
func (s *startFlags) begin(cmd *cobra.Command, c client.Client, run *v1alpha1.NodeRotation) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	if err := s.create(ctx, c, run); err != nil {
		return err
	}
	if err := awaitSeen(ctx, c, run); err != nil {
		if _, ok := errors.AsType[errUnseen](err); ok {
			return fmt.Errorf("%w\nThe run begins as soon as one does; kubectl delete noderotation %s takes it back", err, run.Name)
		}
		return err
	}
	if err := refused(ctx, c, run); err != nil {
		return err
	}
	say(out, "NodeRotation %s: %s", run.Name, run.Status.Phase)
	for _, w := range run.Status.Waits {
		say(out, "  %s", waitSentence(w))
	}
	if !s.wait {
		say(out, "Watch it with windlass rotate watch %s; pause, abort and rollback are commands as well", run.Name)
	}
	return nil
}

func (s *startFlags) create(ctx context.Context, c client.Client, run *v1alpha1.NodeRotation) error {
	named(run, s.name)
	if err := c.Create(ctx, run, client.FieldOwner(rotateOwner)); err != nil {
		return asked("make a NodeRotation", err)
	}
	return nil
}

// refused takes a run back that cannot begin, and says why it cannot; nil if it can.
func refused(ctx context.Context, c client.Client, run *v1alpha1.NodeRotation) error {
	why := hopeless(run)
	if why == nil {
		return nil
	}
	// As it was seen only: if it has begun meanwhile it stays.
	err := c.Delete(ctx, run, client.Preconditions{UID: &run.UID, ResourceVersion: &run.ResourceVersion})
	if err != nil {
		return fmt.Errorf("NodeRotation %s cannot begin, and is still there (%w): %w", run.Name, err, why)
	}
	return fmt.Errorf("NodeRotation %s could not begin, and was taken back: %w", run.Name, why)
}

// say prints a line for people. That it cannot be written is no reason to leave off.
func say(out io.Writer, format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }

// rotateVerbCommands change what a run is to do.
func rotateVerbCommands() []*cobra.Command {
	verb := func(name, short, done string, change func(*v1alpha1.NodeRotationSpec)) *cobra.Command {
		var t target
		cmd := &cobra.Command{
			Use:   name + " [NAME]",
			Short: short,
			Long:  short + ". Without a NAME it is the newest run.",
			Args:  atMostOneRun,
			RunE: func(cmd *cobra.Command, args []string) error {
				c, _, err := t.connect()
				if err != nil {
					return err
				}
				run, err := findRun(cmd.Context(), c, args)
				if err != nil {
					return err
				}
				if rotation.Finished(run.Status.Phase) {
					return fmt.Errorf("NodeRotation %s is over (%s): there is nothing to %s", run.Name, run.Status.Phase, name)
				}
				before := run.DeepCopy()
				change(&run.Spec)
				if err := c.Patch(cmd.Context(), run, client.MergeFrom(before), client.FieldOwner(rotateOwner)); err != nil {
					return asked("change NodeRotation "+run.Name, err)
				}
				say(cmd.OutOrStdout(), "NodeRotation %s: "+done, run.Name)
				return awaitSeen(cmd.Context(), c, run)
			},
		}
		t.addFlags(cmd)
		return cmd
	}
	return []*cobra.Command{
		verb("pause", "Take no further nodes; those that are open are finished", "no further nodes are taken until windlass rotate resume", func(s *v1alpha1.NodeRotationSpec) { s.Paused = true }),
		verb("resume", "Take further nodes again", "goes on", func(s *v1alpha1.NodeRotationSpec) { s.Paused = false }),
		verb("abort", "End a run: give open nodes back, and leave those that were replaced", "open nodes are given back; it cannot go on afterwards", func(s *v1alpha1.NodeRotationSpec) {
			if s.End == "" {
				s.End = v1alpha1.EndAbort
			}
		}),
		verb("rollback", "End a run: give groups their former image back, and replace the nodes of the new one", "goes back to what the groups were made from before", func(s *v1alpha1.NodeRotationSpec) { s.End = v1alpha1.EndRollBack }),
	}
}
