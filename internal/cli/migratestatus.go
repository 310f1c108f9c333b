package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/migration"
)

func migrateStatusCommand() *cobra.Command {
	var s scope
	var o output
	cmd := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Say how far migrations are and what they wait for",
		Long: `Say how far migrations are: since when each is in its phase, what it waits for, and what
holds it up. Those that are through are shown as their Mattermosts. Without names or flags
it is all of the namespace.

Exit code 3 means that somebody has to do something: one was refused or interrupted, or
is held up.`,
		Example: `  windlass migrate status
  windlass migrate status -l tier=free -A
  windlass migrate status --all -A -o json | jq '.installations[] | select(.error)'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.choose(cmd, args, false); err != nil {
				return err
			}
			c, err := s.connect()
			if err != nil {
				return err
			}
			seen, err := s.look(cmd.Context(), c)
			if err != nil {
				return err
			}
			v := s.viewOf(seen)
			if err := o.print(cmd.OutOrStdout(), v, func(w io.Writer) error { return v.text(w, time.Now()) }); err != nil {
				return err
			}
			if v.needsSomebody() {
				return errUnhealthy
			}
			return nil
		},
	}
	s.addFlags(cmd)
	o.addFlag(cmd)
	return cmd
}

func migrateWatchCommand() *cobra.Command {
	var s scope
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "watch [NAME...]",
		Short: "Show migrations while they go on, until all are at rest",
		Long: `Show migrations until all are at rest: through, reverted, held before the end, or refused.
It is a view that is redrawn on a terminal, and a line for each change elsewhere. Exit
code 0 means that none was refused or interrupted, 1 that some were, which are named.`,
		Example: `  windlass migrate watch
  windlass migrate watch -l tier=free -A --timeout 1h | tee migration.log`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.choose(cmd, args, false); err != nil {
				return err
			}
			c, err := s.connect()
			if err != nil {
				return err
			}
			return s.watch(cmd.Context(), c, cmd.OutOrStdout(), timeout)
		},
	}
	s.addFlags(cmd)
	addTimeout(cmd, &timeout)
	return cmd
}

func addTimeout(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVar(timeout, "timeout", 0, "`DURATION` after which to stop waiting; the migrations go on")
}

// watch shows migrations until all are at rest; the error names those that failed.
func (s *scope) watch(ctx context.Context, c client.Client, out io.Writer, timeout time.Duration) error {
	v, err := s.follow(ctx, c, out, timeout, func(context.Context, seenInstallations, *migrationView) (bool, error) { return true, nil })
	if err != nil {
		return stopped(v, err)
	}
	return v.failure()
}

// stopped says of a wait that ended too early what it did not wait for.
func stopped(v *migrationView, err error) error {
	if v == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("stopped watching (%w); what was begun goes on in the cluster: %s", err, v.counts())
}

// follow looks at the installations, has act do something about what it sees, and shows
// it, until act says that it is through and all are at rest.
func (s *scope) follow(ctx context.Context, c client.Client, out io.Writer, timeout time.Duration, act func(context.Context, seenInstallations, *migrationView) (bool, error)) (*migrationView, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var v *migrationView
	shown, answered := newScreen[*migrationView](out), time.Now()
	for {
		began := time.Now()
		seen, err := s.look(ctx, c)
		now := time.Now()
		if err == nil {
			answered = now
			v = s.viewOf(seen)
			v.brief = true
			if err := shown.show(v, now); err != nil {
				return v, err
			}
			through, err := act(ctx, seen, v)
			if err != nil || through && v.atRest() {
				return v, err
			}
		}
		_, gone := errors.AsType[errNoSuch](err)
		switch {
		case ctx.Err() != nil:
			return v, ctx.Err()
		case err != nil && (gone || final(err) || now.Sub(answered) > lostAfter):
			return v, err
		}
		// Thousands take a while to list, so that looking takes a fifth of the time at most.
		next := time.NewTimer(max(lookEvery, 4*now.Sub(began)))
		select {
		case <-ctx.Done():
			next.Stop()
			return v, ctx.Err()
		case <-next.C:
		}
	}
}

func (s *scope) viewOf(seen seenInstallations) *migrationView {
	v := &migrationView{Installations: []migration.Standing{}, where: s.String(), named: len(s.names) > 0}
	standings, unasked := seen.standings(s.labels)
	v.Installations, v.Unasked = append(v.Installations, standings...), unasked
	return v
}

// failure names those that were refused or interrupted.
func (v *migrationView) failure() error {
	var names []string
	for _, s := range v.Installations {
		if s.Failed() {
			names = append(names, fmt.Sprintf("%s/%s (%s)", s.Namespace, s.Name, s.Phase))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%d did not become Mattermosts: %s", len(names), strings.Join(names, ", "))
}
