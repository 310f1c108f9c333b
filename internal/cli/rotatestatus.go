package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/rotation"
)

func rotateStatusCommand() *cobra.Command {
	var t target
	var o output
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Say how far a run is and what it waits for",
		Long: `Say how far a run is, and what each of its nodes waits for: for what, since when, until
when, and what somebody can do. Without a NAME it is the newest run. Exit code 3 means
that the run needs somebody, or ended otherwise than it should have.`,
		Example: `  windlass rotate status
  windlass rotate status june -o json`,
		Args: atMostOneRun,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			run, err := findRun(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			v, err := look(cmd.Context(), c, run)
			if err != nil {
				return err
			}
			if err := o.print(cmd.OutOrStdout(), v, func(w io.Writer) error { return v.text(w, time.Now()) }); err != nil {
				return err
			}
			if v.Needs != "" || ended(run) != nil {
				return errUnhealthy
			}
			return nil
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	return cmd
}

func rotateWatchCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "watch [NAME]",
		Short: "Show a run while it goes on, until it ends",
		Long: `Show a run until it ends: a view that is redrawn on a terminal, and a line for each
change elsewhere. Without a NAME it is the newest run. Exit code 0 means that it
succeeded, 1 that it failed, was aborted or rolled back.`,
		Example: `  windlass rotate watch
  windlass rotate watch june | tee rotation.log`,
		Args: atMostOneRun,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			run, err := findRun(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			return follow(cmd.Context(), c, run, cmd.OutOrStdout())
		},
	}
	t.addFlags(cmd)
	return cmd
}

// look reads the records of a run, and the run anew.
func look(ctx context.Context, c client.Client, run *v1alpha1.NodeRotation) (*rotationView, error) {
	var records v1alpha1.NodeReplacementList
	if err := c.List(ctx, &records, client.MatchingLabels{v1alpha1.RotationLabel: run.Name}); err != nil {
		return nil, asked("list NodeReplacements", err)
	}
	// After the records, so that the last look at a run that is over has all of them.
	if err := c.Get(ctx, client.ObjectKeyFromObject(run), run); err != nil {
		return nil, asked("read NodeRotation "+run.Name, err)
	}
	v := viewOf(run, records.Items)
	return &v, nil
}

// lostAfter is how long the API server may not answer before who follows a run gives up.
const lostAfter = time.Minute

// follow shows a run until it ends; the error says so if it did not succeed.
func follow(ctx context.Context, c client.Client, run *v1alpha1.NodeRotation, out io.Writer) error {
	s, answered := newScreen[*rotationView](out), time.Now()
	err := wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
		v, err := look(ctx, c, run)
		now := time.Now()
		switch {
		case err != nil && (ctx.Err() != nil || final(err) || now.Sub(answered) > lostAfter):
			return false, err
		case err != nil:
			return false, nil //nolint:nilerr // A run takes long, and API servers are restarted meanwhile.
		}
		answered = now
		return rotation.Finished(run.Status.Phase), s.show(v, now)
	})
	if ctx.Err() != nil {
		return fmt.Errorf("stopped watching NodeRotation %s: %w", run.Name, ctx.Err())
	}
	if err != nil {
		return err
	}
	return ended(run)
}

// final says that asking again would not help.
func final(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || meta.IsNoMatchError(err)
}
