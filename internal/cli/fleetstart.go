package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/fleetrotation"
)

// fleetStart are the flags of `fleet start`.
type fleetStart struct {
	waves            []string
	parallel         int32
	bake             time.Duration
	failures         int32
	groups, images   []string
	noFreeze, dryRun bool
	wait             bool
	timeout          time.Duration
}

func fleetStartCommand() *cobra.Command {
	var t target
	var o output
	var s fleetStart
	cmd := &cobra.Command{
		Use:   "start NAME --wave SELECTOR...",
		Short: "Begin to rotate the nodes of a fleet",
		Long: `Begin to rotate the nodes of a fleet: a FleetRotation is made, which the running
Windlass carries out. Each --wave selects clusters by the labels of their
registrations; a cluster belongs to the first that selects it, and '' selects all.
What the flags do not say, such as the strategy, is said by a manifest: print one with
--dry-run -o yaml, and apply it.

With --wait the command returns when the run is over; exit code 3 means then that it
has not succeeded.`,
		Example: `  windlass fleet start august --wave stage=canary --wave 'region in (eu,us)' --wave '' --bake 1h
  windlass fleet start august --wave '' --max-parallel 5 --image ami-0123456789abcdef0 --wait
  windlass fleet start august --wave '' --dry-run -o yaml > august.yaml`,
		Args: exactlyOne("a NAME for the run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := s.fleet(args[0])
			if err != nil {
				return usageError{err}
			}
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			options := []client.CreateOption{client.FieldOwner("windlass-cli")}
			if s.dryRun {
				options = append(options, client.DryRunAll)
			}
			intent := run.DeepCopy()
			if err := c.Create(cmd.Context(), run, options...); err != nil {
				return fmt.Errorf("make FleetRotation %s: %w", run.Name, err)
			}
			if s.wait && !s.dryRun {
				if run, err = s.await(cmd.Context(), c, run.Name, cmd.ErrOrStderr()); err != nil {
					return err
				}
			} else {
				run = intent
			}
			if err := o.print(cmd.OutOrStdout(), run, func(w io.Writer) error { return s.text(w, run) }); err != nil {
				return err
			}
			if s.wait && !s.dryRun && run.Status.Phase != v1alpha1.Succeeded {
				return errUnhealthy
			}
			return nil
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&s.waves, "wave", nil, "label `SELECTOR` of a wave's clusters; once for each wave, in order")
	flags.Int32Var(&s.parallel, "max-parallel", 1, "`CLUSTERS` of a wave that are rotated at a time")
	flags.DurationVar(&s.bake, "bake", 0, "`DURATION` for which clusters are left to themselves after each wave but the last")
	flags.Int32Var(&s.failures, "failure-threshold", 0, "`CLUSTERS` that may fail before all stops")
	flags.StringSliceVar(&s.groups, "group", nil, "`NAMES` of NodeGroups; all without any")
	flags.StringSliceVar(&s.images, "image", nil, "image `IDS`, one for each architecture; what each cluster has approved without any")
	flags.BoolVar(&s.noFreeze, "no-freeze", false, "admit new installations while nodes are replaced")
	flags.BoolVar(&s.dryRun, "dry-run", false, "only have the API server check it")
	flags.BoolVar(&s.wait, "wait", false, "wait until the run is over")
	flags.DurationVar(&s.timeout, "timeout", 24*time.Hour, "`DURATION` after which to stop waiting; the run goes on")
	return cmd
}

// fleet is the run that the flags describe.
func (s fleetStart) fleet(name string) (*v1alpha1.FleetRotation, error) {
	if len(s.waves) == 0 {
		return nil, errors.New("say which clusters: --wave SELECTOR, once for each wave; --wave '' is all of them")
	}
	run := &v1alpha1.FleetRotation{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "FleetRotation"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.FleetRotationSpec{FailureThreshold: s.failures},
	}
	for i, text := range s.waves {
		selector, err := metav1.ParseToLabelSelector(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--wave %q: %w", text, err)
		}
		wave := v1alpha1.FleetWave{ClusterSelector: selector, MaxParallel: s.parallel}
		if i < len(s.waves)-1 {
			wave.BakeSeconds = int32(s.bake / time.Second)
		}
		run.Spec.Waves = append(run.Spec.Waves, wave)
	}
	if len(s.groups)+len(s.images) > 0 {
		run.Spec.Rotation = &v1alpha1.NodeRotationSpec{Groups: s.groups}
		if len(s.images) > 0 {
			run.Spec.Rotation.Target = &v1alpha1.Target{Images: s.images}
		}
	}
	if s.noFreeze {
		run.Spec.FreezeAdmission = new(false)
	}
	return run, nil
}

// await follows the run until it is over, and tells of each cluster that changes.
func (s fleetStart) await(ctx context.Context, c client.Client, name string, progress io.Writer) (*v1alpha1.FleetRotation, error) {
	var run *v1alpha1.FleetRotation
	told := map[string]v1alpha1.ClusterPhase{}
	err := wait.PollUntilContextTimeout(ctx, time.Second, s.timeout, true, func(ctx context.Context) (bool, error) {
		var err error
		if run, err = getFleet(ctx, c, name); err != nil {
			return false, err
		}
		for _, row := range run.Status.Clusters {
			if told[row.Name] != row.Phase {
				told[row.Name] = row.Phase
				fmt.Fprintf(progress, "wave %d: %s is %s\n", row.Wave+1, row.Name, row.Phase)
			}
		}
		return fleetrotation.Finished(run), nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = nil
	}
	return run, err
}

func (s fleetStart) text(out io.Writer, run *v1alpha1.FleetRotation) error {
	switch {
	case s.dryRun:
		_, err := fmt.Fprintf(out, "FleetRotation %s would be made, with %d waves.\n", run.Name, len(run.Spec.Waves))
		return err
	case s.wait:
		return fleetText(out, run, time.Now())
	default:
		_, err := fmt.Fprintf(out, "FleetRotation %s is made. See how it goes: windlass fleet status %s\n", run.Name, run.Name)
		return err
	}
}
