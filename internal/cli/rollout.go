package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/fleet/v1alpha1"
	"windlass.dev/internal/migration"
	"windlass.dev/internal/rollout"
	rollouts "windlass.dev/internal/rollout/controller"
)

// rolloutOwner is the field manager of what the commands write.
const rolloutOwner = "windlass-rollout-command"

func rolloutCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Change many installations, wave by wave",
		Long: `Change many installations, wave by wave: version, image, environment, size, a restart,
or the migration of ClusterInstallations. Each change is an InstallationRollout in the cluster, which goes on without the
command that began it. What the flags do not say, such as gates, is said by a manifest:
print one with start --dry-run -o yaml, and apply it.`,
		Example: `  windlass rollout plan --version 10.6.0 -l tier=free
  windlass rollout start june --version 10.6.0 --wave "1 for 10m" --wave "10% for 1h" --wait
  windlass rollout status june
  windlass rollout pause june`,
		PersistentPreRun: func(*cobra.Command, []string) {
			// Clients log what answers warn of; it would disturb what is shown.
			ctrl.SetLogger(logr.Discard())
		},
	}
	of := editable[*v1alpha1.InstallationRollout]{
		kind: "InstallationRollout", group: "rollout", owner: rolloutOwner, get: getRollout,
		view: func(r *v1alpha1.InstallationRollout) any { return rolloutViewOf(r) },
	}
	cmd.AddCommand(rolloutPlanCommand(), rolloutStartCommand(), rolloutStatusCommand(), rolloutWatchCommand(),
		of.edit("pause", "Change no further installation; those that are updating go on", `{"spec":{"paused":true}}`, "paused"),
		of.edit("resume", "Go on with a paused roll-out", `{"spec":{"paused":false}}`, "resumed"),
		of.edit("abort", "End a roll-out and leave what was changed", `{"spec":{"end":"Abort"}}`, "told to end"),
		of.edit("rollback", "End a roll-out and give back what its revision has changed", `{"spec":{"end":"RollBack"}}`, "told to give back what it has changed"))
	return cmd
}

func getRollout(ctx context.Context, c client.Client, name string) (*v1alpha1.InstallationRollout, error) {
	var r v1alpha1.InstallationRollout
	if err := c.Get(ctx, types.NamespacedName{Name: name}, &r); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("there is no InstallationRollout %s", name)
		}
		return nil, asked("read InstallationRollout "+name, err)
	}
	return &r, nil
}

func rolloutPlanCommand() *cobra.Command {
	var t target
	var o output
	var f rolloutFlags
	var check bool
	cmd := &cobra.Command{
		Use:   "plan [NAME]",
		Short: "Say which installations would be changed, how, and in which waves",
		Long: `Say which installations would be changed, how, in which waves and in which order, by a
roll-out of the flags, or have still to be changed by the InstallationRollout NAME.
Nothing is changed. With --check the API server is asked about each of them whether it
would refuse the change. Exit code 3 means that some would be refused, or cannot be
migrated. The order of a roll-out at random is known when it is made.`,
		Example: `  windlass rollout plan --version 10.6.0 --wave 1 --wave 10%
  windlass rollout plan --version 10.6.0 -l tier=free --check
  windlass rollout plan june -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("%s wants at most one NAME, got %d", cmd.CommandPath(), len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			var r *v1alpha1.InstallationRollout
			if len(args) == 1 {
				r, err = getRollout(cmd.Context(), c, args[0])
			} else {
				r, err = f.rollout("", t.namespace)
			}
			if err != nil {
				return err
			}
			return printPreview(cmd, c, r, check, &o)
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	f.addFlags(cmd)
	cmd.Flags().BoolVar(&check, "check", false, "ask the API server about each installation whether it would refuse the change")
	return cmd
}

func printPreview(cmd *cobra.Command, c client.Client, r *v1alpha1.InstallationRollout, check bool, o *output) error {
	s, err := rollouts.Read(cmd.Context(), c, r)
	if err != nil {
		return asked("plan", err)
	}
	p, err := rollout.PreviewOf(s, time.Now())
	if err != nil {
		return err
	}
	if r.Spec.Change.Migrate {
		if err := checkMigrations(cmd.Context(), c, p); err != nil {
			return err
		}
	}
	if check {
		if err := checkPreview(cmd.Context(), c, p); err != nil {
			return err
		}
	}
	if err := o.print(cmd.OutOrStdout(), p, func(w io.Writer) error { return previewText(w, p) }); err != nil {
		return err
	}
	if p.Refused() > 0 {
		return errUnhealthy
	}
	return nil
}

// checkMigrations notes which ClusterInstallations cannot become Mattermosts, as windlass
// migrate plan does.
func checkMigrations(ctx context.Context, c client.Client, p rollout.Preview) error {
	all := scope{labels: labels.Everything()}
	seen, err := all.look(ctx, c)
	if err != nil {
		return err
	}
	f, err := all.factsOf(ctx, c, seen.older)
	if err != nil {
		return err
	}
	refused := map[string]string{}
	for i := range seen.older {
		ci := &seen.older[i]
		if look := migration.Look(seen.world(ci, f), time.Now()); look.Verdict == migration.Refused {
			refused[byName(ci).String()] = look.Message
		}
	}
	for n := range p.Waves {
		for i := range p.Waves[n].Installations {
			one := &p.Waves[n].Installations[i]
			one.Refused = cmp.Or(one.Refused, refused[one.Name])
		}
	}
	return nil
}

// checkPreview asks the API server about each installation, and notes what it refuses.
func checkPreview(ctx context.Context, c client.Client, p rollout.Preview) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(rollouts.Parallel)
	for n := range p.Waves {
		for i := range p.Waves[n].Installations {
			one := &p.Waves[n].Installations[i]
			group.Go(func() error {
				err := rollouts.Try(ctx, c, one.Action)
				if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
					return nil // It has changed meanwhile, which is no refusal.
				}
				if err != nil && ctx.Err() == nil {
					one.Refused = err.Error()
				}
				return ctx.Err()
			})
		}
	}
	return group.Wait()
}

func previewText(out io.Writer, p rollout.Preview) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if p.Total() == 0 {
		fmt.Fprintln(w, "No installation would be changed now.")
	}
	const most = 20
	for _, wave := range p.Waves {
		soak := ""
		if wave.SoakSeconds > 0 {
			soak = ", then watched for " + seconds(wave.SoakSeconds)
		}
		fmt.Fprintf(w, "Wave %d: %d installations%s\n", wave.Number, len(wave.Installations), soak)
		for _, one := range wave.Installations[:min(len(wave.Installations), most)] {
			fmt.Fprintf(w, "  %s\t%s\n", one.Name, changesText(one.Changes))
		}
		if more := len(wave.Installations) - most; more > 0 {
			fmt.Fprintf(w, "  and %d more\n", more)
		}
		for _, one := range wave.Installations {
			if one.Refused != "" {
				fmt.Fprintf(w, "  Refused: %s: %s\n", one.Name, one.Refused)
			}
		}
	}
	fmt.Fprintf(w, "At most %d at a time\n", p.MaxInFlight)
	for _, of := range []struct {
		names []string
		what  string
	}{{p.Hibernating, "hibernate, and follow when they wake"}, {p.Paused, "are paused, and follow when they are resumed"}} {
		if len(of.names) > 0 {
			fmt.Fprintf(w, "%d %s\n", len(of.names), of.what)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Superseded)) {
		fmt.Fprintf(w, "%d belong to the newer InstallationRollout %s\n", p.Superseded[name], name)
	}
	return w.Flush()
}

func changesText(changes []rollout.PreviewedChange) string {
	var parts []string
	for _, c := range changes {
		parts = append(parts, fmt.Sprintf("%s: %s -> %s", c.Field, valueText(c.From), valueText(c.To)))
	}
	if len(parts) == 0 {
		return "has it already"
	}
	return strings.Join(parts, ", ")
}

// valueText is a value in short.
func valueText(value any) string {
	switch v := value.(type) {
	case nil:
		return "none"
	case string:
		return v
	case map[string]any: // A variable of the environment.
		if text, ok := v["value"].(string); ok {
			return text
		}
	}
	content, err := json.Marshal(value)
	if err != nil {
		return "?"
	}
	return string(content)
}

func rolloutStartCommand() *cobra.Command {
	var t target
	var o output
	var f rolloutFlags
	var dryRun, follows bool
	cmd := &cobra.Command{
		Use:   "start NAME",
		Short: "Begin to change installations",
		Long: `Begin to change installations: those of the selector, or all; in the namespace of -n, or
in all. It goes on in the cluster. With --wait the command stays until the roll-out is
over, with exit code 1 unless it succeeded.

A wave is "SIZE [for SOAK]" or "SELECTOR [for SOAK]": 1, 10% or ring=canary, watched for
as long before the next one begins. What no wave takes comes last.`,
		Example: `  windlass rollout start june --version 10.6.0 --wave "1 for 10m" --wave "10% for 1h" --max-in-flight 5%
  windlass rollout start restart-eu -l region=eu --restart 2026-06-01 --limit topology.kubernetes.io/zone=2
  windlass rollout start june --version 10.6.0 --on-failure RollBack --wait
  windlass rollout start june --version 10.6.0 --dry-run -o yaml > june.yaml`,
		Args: exactlyOne("a NAME for the roll-out"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			r, err := f.rollout(args[0], t.namespace)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if dryRun {
				manifest := r.DeepCopy()
				if err := c.Create(ctx, r, client.DryRunAll, client.FieldOwner(rolloutOwner)); err != nil {
					return asked("make InstallationRollout "+args[0], err)
				}
				if o.format == "" {
					return printPreview(cmd, c, manifest, false, &o)
				}
				return o.print(cmd.OutOrStdout(), manifestOf(manifest), nil)
			}
			if err := c.Create(ctx, r, client.FieldOwner(rolloutOwner)); err != nil {
				return asked("make InstallationRollout "+args[0], err)
			}
			if !follows {
				return o.print(cmd.OutOrStdout(), r, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "InstallationRollout %s was made; see windlass rollout status %s\n", r.Name, r.Name)
					return err
				})
			}
			return followRollout(ctx, c, r, cmd.OutOrStdout())
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	f.addFlags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done; with -o print the manifest")
	cmd.Flags().BoolVar(&follows, "wait", false, "show what happens until the roll-out is over")
	return cmd
}

// manifestOf is what can be applied.
func manifestOf(r *v1alpha1.InstallationRollout) any {
	return map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "InstallationRollout",
		"metadata": map[string]string{"name": r.Name}, "spec": r.Spec,
	}
}

// followRollout shows a roll-out until it is over; the error says so if it did not succeed.
func followRollout(ctx context.Context, c client.Client, r *v1alpha1.InstallationRollout, out io.Writer) error {
	s, began, answered := newScreen[*rolloutView](out), time.Now(), time.Now()
	err := wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
		err, now := c.Get(ctx, client.ObjectKeyFromObject(r), r), time.Now()
		switch {
		case err != nil && (ctx.Err() != nil || final(err) || now.Sub(answered) > lostAfter):
			return false, asked("read InstallationRollout "+r.Name, err)
		case err != nil:
			return false, nil //nolint:nilerr // A roll-out takes long, and API servers are restarted meanwhile.
		}
		answered = now
		if r.Status.ObservedGeneration == 0 && now.Sub(began) > unseenAfter {
			return false, errUnseen{kind: "InstallationRollout", name: r.Name, lease: rolloutLease}
		}
		over := rollout.Over(r.Status.Phase) && r.Status.ObservedGeneration == r.Generation
		return over, s.show(rolloutViewOf(r), now)
	})
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("stopped watching InstallationRollout %s: %w", r.Name, ctx.Err())
	case err != nil:
		return err
	case r.Status.Phase != v1alpha1.Succeeded:
		return errors.New(strings.TrimSpace(fmt.Sprintf("InstallationRollout %s ended as %s: %s", r.Name, r.Status.Phase, rolloutViewOf(r).Message)))
	default:
		return nil
	}
}
