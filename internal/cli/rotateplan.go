package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
)

// planView is the answer of `rotate plan`.
type planView struct {
	Groups   []groupView            `json:"groups"`
	Outdated int32                  `json:"outdated"`
	Nodes    []v1alpha1.PlannedNode `json:"nodes"`
	Blockers []v1alpha1.Wait        `json:"blockers"`
	Estimate *v1alpha1.Estimate     `json:"estimate,omitempty"`
}

func rotatePlanCommand() *cobra.Command {
	var t target
	var o output
	var r runFlags
	cmd := &cobra.Command{
		Use:   "plan [GROUP...]",
		Short: "Say which nodes a run would replace, what would block it, and how long it would take",
		Long: `Say which nodes of the NodeGroups, or of all, a run would replace, in which order and
why; which pods would keep nodes from being emptied, and what to do about each; how
long it would take, what no order of work could beat, and which budgets cost most.

The controller in the cluster plans, by a NodeRotation with dryRun that is removed
afterwards; nothing else is changed. Exit code 3 means that something would block.`,
		Example: `  windlass rotate plan
  windlass rotate plan apps --image ami-0123456789abcdef0 -o yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			run, err := r.rotation(cmd.Context(), c, args, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return printPlan(cmd, c, run, &o)
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	r.addFlags(cmd)
	return cmd
}

// printPlan has a run planned, prints what comes of it, and leaves nothing behind.
func printPlan(cmd *cobra.Command, c client.Client, run *v1alpha1.NodeRotation, o *output) error {
	v, err := planRun(cmd.Context(), c, run)
	if err != nil {
		return err
	}
	if err := o.print(cmd.OutOrStdout(), v, func(w io.Writer) error { return v.text(w, time.Now()) }); err != nil {
		return err
	}
	if len(v.Blockers) > 0 {
		return errUnhealthy
	}
	return nil
}

// planRun makes a dry run, waits for its plan and removes it.
func planRun(ctx context.Context, c client.Client, run *v1alpha1.NodeRotation) (v *planView, err error) {
	run.Name, run.GenerateName, run.Spec.DryRun = "", "plan-", true
	if err := c.Create(ctx, run, client.FieldOwner(rotateOwner)); err != nil {
		return nil, asked("make a NodeRotation that plans", err)
	}
	defer func() {
		// It has to go even if whoever asked does not want to wait any longer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unseenAfter)
		defer cancel()
		if e := client.IgnoreNotFound(c.Delete(ctx, run)); e != nil {
			err = errors.Join(err, fmt.Errorf("remove NodeRotation %s: %w", run.Name, e))
		}
	}()
	if err := awaitSeen(ctx, c, run); err != nil {
		return nil, err
	}
	err = awaitRun(ctx, c, run, planPatience, func() bool { return run.Status.Phase == v1alpha1.Planned || hopeless(run) != nil || busy(run) != nil })
	switch {
	case err != nil && wait.Interrupted(err) && ctx.Err() == nil && len(run.Status.Waits) > 0:
		return nil, fmt.Errorf("nothing could be planned in %s: %s", planPatience, waitSentence(run.Status.Waits[0]))
	case err != nil:
		return nil, err
	case run.Status.Plan == nil:
		if err := errors.Join(hopeless(run), busy(run)); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("the controller planned nothing for NodeRotation %s", run.Name)
	}
	v = &planView{Groups: viewOf(run, nil).Groups, Outdated: run.Status.Outdated, Nodes: run.Status.Plan.Nodes, Blockers: run.Status.Plan.Blockers, Estimate: run.Status.Estimate}
	return v, nil
}

// busy says that another run has a group; nil if none does.
func busy(run *v1alpha1.NodeRotation) error {
	for _, w := range run.Status.Waits {
		if run.Status.StartedAt == nil && w.Reason == v1alpha1.ReasonGroupBusy {
			return errors.New(waitSentence(w))
		}
	}
	return nil
}

func (v *planView) text(out io.Writer, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "GROUP\tSIZE\tOUTDATED\tTARGET\n")
	for _, g := range v.Groups {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", g.Name, g.Size, g.Outdated, g.Target)
	}
	if len(v.Nodes) == 0 {
		fmt.Fprintf(w, "\nNothing to do: every node runs what it should.\n")
	} else {
		fmt.Fprintf(w, "\nORDER\tNODE\tGROUP\tREASON\n")
	}
	for i, n := range v.Nodes {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", i+1, n.Name, n.Group, n.Reason)
	}
	if more := int(v.Outdated) - len(v.Nodes); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	if len(v.Blockers) > 0 {
		fmt.Fprintf(w, "\nBlockers: as long as these are there, their nodes cannot be emptied\n")
	}
	for _, b := range v.Blockers {
		fmt.Fprintf(w, "  %s", b.Subject)
		if b.For != "" {
			fmt.Fprintf(w, " waits for %s", b.For)
		}
		fmt.Fprintf(w, "\n    %s: %s\n", b.Reason, b.Message)
	}
	if v.Estimate != nil {
		fmt.Fprintf(w, "\nEstimate, if it began now\n")
		writeEstimate(w, v.Estimate, now)
	}
	return w.Flush()
}
