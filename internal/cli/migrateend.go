package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/migration"
)

// migrateEnd takes migrations back, or finishes them.
type migrateEnd struct {
	scope
	yes, dryRun, follow bool
	timeout             time.Duration
}

func (e *migrateEnd) addFlags(cmd *cobra.Command, o *output) {
	e.scope.addFlags(cmd)
	o.addFlag(cmd)
	flags := cmd.Flags()
	flags.BoolVarP(&e.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&e.dryRun, "dry-run", false, "only have the API server check it, and say what would be done")
	flags.BoolVar(&e.follow, "wait", false, "show what happens until all are at rest")
	addTimeout(cmd, &e.timeout)
}

func migrateRevertCommand() *cobra.Command {
	var e migrateEnd
	var o output
	cmd := &cobra.Command{
		Use:   "revert NAME...",
		Short: "Take migrations back: the ClusterInstallations get their objects back",
		Long: `Take migrations back, at whatever phase before the end: the ClusterInstallation gets its
objects back, and the Mattermost is deleted. No pod is restarted, unless the Mattermost
was changed since: that is lost, so that it is asked for (or --yes given).

After the end there is no ClusterInstallation to go back to. Make it anew with its former
spec, and revert takes the installation back from its Mattermost.`,
		Example: `  windlass migrate revert chat -n team-a --wait
  windlass migrate revert -l tier=free -A --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.run(cmd, args, &o, e.revert)
		},
	}
	e.addFlags(cmd, &o)
	return cmd
}

func migrateFinalizeCommand() *cobra.Command {
	var e migrateEnd
	var o output
	cmd := &cobra.Command{
		Use:   "finalize NAME...",
		Short: "Finish migrations that are held before their end",
		Long: `Finish migrations that are held before their end: the ClusterInstallations are deleted,
and nothing that they once owned. Only those whose Mattermost has everything, and is
stable, are finished: it is looked at anew which objects name the ClusterInstallation as
an owner, and the controller looks once more.`,
		Example: `  windlass migrate finalize chat -n team-a
  windlass migrate finalize -l tier=free -A --yes --wait`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.run(cmd, args, &o, e.finalize)
		},
	}
	e.addFlags(cmd, &o)
	return cmd
}

// verb changes what of the installations can be, and says what came of it. The error may
// be about others.
type verb func(cmd *cobra.Command, c client.Client, seen seenInstallations) ([]done, error)

func (e *migrateEnd) run(cmd *cobra.Command, args []string, o *output, do verb) error {
	if err := e.choose(cmd, args, true); err != nil {
		return err
	}
	c, err := e.connect()
	if err != nil {
		return err
	}
	seen, err := e.look(cmd.Context(), c)
	if err != nil {
		return err
	}
	results, err := do(cmd, c, seen)
	if len(results) > 0 || err == nil {
		printed := o.print(cmd.OutOrStdout(), results, func(w io.Writer) error {
			if len(results) == 0 {
				say(w, "There is nothing to do: %s", e.viewOf(seen).counts())
			}
			return printDone(w, results)
		})
		err = errors.Join(err, printed)
	}
	if err != nil || !e.follow || e.dryRun || len(results) == 0 {
		return err
	}
	shown := cmd.OutOrStdout()
	if o.format != "" {
		shown = cmd.ErrOrStderr()
	}
	return e.watch(cmd.Context(), c, shown, e.timeout)
}

// wayBack is that of a migration which has ended.
const wayBack = `its migration has ended, and the ClusterInstallation is gone. To go back all the same,
  make it anew with its former spec and without migrate, and revert it then:
    kubectl apply -f FILE
    windlass migrate revert NAME --wait`

// revert takes back what was asked for.
func (e *migrateEnd) revert(cmd *cobra.Command, c client.Client, seen seenInstallations) ([]done, error) {
	ctx, now := cmd.Context(), time.Now()
	var back []v1alpha1.ClusterInstallation
	anew := map[types.NamespacedName]bool{}
	for _, ci := range seen.older {
		standing, ok := migration.StandingOf(&ci, seen.newer[byName(&ci)])
		if superseded := ok && standing.Phase == migration.Superseded; superseded || ci.Spec.Migrate {
			back = append(back, ci)
			anew[byName(&ci)] = superseded
		}
	}
	standings, _ := seen.standings(e.labels)
	var ended []error
	for _, one := range standings {
		if one.Phase == migration.Migrated {
			ended = append(ended, fmt.Errorf("%s/%s: %s", one.Namespace, one.Name, wayBack))
		}
	}
	switch {
	case len(ended) > 0 && len(e.names) > 0:
		return nil, errors.Join(ended...)
	case len(ended) > 0:
		say(cmd.ErrOrStderr(), "%d are left out, because their migration has ended; windlass migrate revert NAME says how to go back", len(ended))
	}
	if err := e.sure(cmd, c, seen, back, now); err != nil {
		return nil, err
	}
	what := "is to stay a ClusterInstallation"
	if e.dryRun {
		what = "would be reverted"
	}
	return changeAll(ctx, c, back, e.dryRun, what, func(ci *v1alpha1.ClusterInstallation) {
		if ci.Spec.Migrate = false; anew[byName(ci)] {
			metav1.SetMetaDataAnnotation(&ci.ObjectMeta, v1alpha1.RevertAnnotation, "true")
		}
	})
}

// sure asks if something would be lost.
func (e *migrateEnd) sure(cmd *cobra.Command, c client.Client, seen seenInstallations, back []v1alpha1.ClusterInstallation, now time.Time) error {
	if e.yes || e.dryRun || len(back) == 0 {
		return nil
	}
	f, err := e.factsOf(cmd.Context(), c, back)
	if err != nil {
		return err
	}
	var lost []string
	for i := range back {
		ci := &back[i]
		fields := migration.Lost(seen.world(ci, f), now)
		if len(fields) > 0 {
			lost = append(lost, fmt.Sprintf("%s/%s (%s)", ci.Namespace, ci.Name, few(fields)))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return confirm(cmd, false, fmt.Sprintf("Take back %d, and lose what the Mattermosts have otherwise than their ClusterInstallations: %s", len(back), few(lost)))
}

// finalize finishes those that are ready.
func (e *migrateEnd) finalize(cmd *cobra.Command, c client.Client, seen seenInstallations) ([]done, error) {
	ctx := cmd.Context()
	var ready []v1alpha1.ClusterInstallation
	var unready []error
	for _, ci := range seen.older {
		if why := migration.Unready(&ci, seen.newer[byName(&ci)]); why == "" {
			ready = append(ready, ci)
		} else if _, asked := migration.StandingOf(&ci, seen.newer[byName(&ci)]); asked || len(e.names) > 0 {
			unready = append(unready, fmt.Errorf("%s/%s: %s", ci.Namespace, ci.Name, why))
		}
	}
	owned, err := e.audit(ctx, c, ready, cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	ready = slices.DeleteFunc(ready, func(ci v1alpha1.ClusterInstallation) bool {
		if len(owned[ci.UID]) == 0 {
			return false
		}
		unready = append(unready, fmt.Errorf("%s/%s: it is still an owner of %s: have them owned by Mattermost/%s, or by nobody", ci.Namespace, ci.Name, few(owned[ci.UID]), ci.Name))
		return true
	})
	if err := errors.Join(unready...); err != nil && (len(e.names) > 0 || len(ready) == 0) {
		return nil, fmt.Errorf("nothing was finished:\n%w", err)
	}
	for _, why := range unready {
		say(cmd.ErrOrStderr(), "left out: %v", why)
	}
	if len(ready) == 0 {
		return nil, nil
	}
	if !e.dryRun {
		if err := confirm(cmd, e.yes, fmt.Sprintf("Delete %d ClusterInstallations, whose Mattermosts have everything", len(ready))); err != nil {
			return nil, err
		}
	}
	what := "is to end"
	if e.dryRun {
		what = "would end"
	}
	return changeAll(ctx, c, ready, e.dryRun, what, func(ci *v1alpha1.ClusterInstallation) {
		metav1.SetMetaDataAnnotation(&ci.ObjectMeta, v1alpha1.FinalizeAnnotation, "Now")
	})
}

// audit returns, by the UID of a ClusterInstallation, the objects that name it as an owner,
// as the API server has them: of the kinds that the installations are made of, and of
// those that people make beside them.
func (e *migrateEnd) audit(ctx context.Context, c client.Client, all []v1alpha1.ClusterInstallation, told io.Writer) (map[types.UID][]string, error) {
	owned := map[types.UID][]string{}
	kinds := map[schema.GroupKind]bool{}
	for i := range all {
		owned[all[i].UID] = nil
		for _, item := range all[i].Status.Inventory {
			kinds[schema.GroupKind{Group: item.Group, Kind: item.Kind}] = true
		}
	}
	if len(all) == 0 {
		return owned, nil
	}
	for _, kind := range []schema.GroupKind{{Group: "apps", Kind: "ReplicaSet"}, {Group: "batch", Kind: "Job"}, {Kind: "ConfigMap"}, {Kind: "Secret"}, {Kind: "PersistentVolumeClaim"}} {
		kinds[kind] = true
	}
	for kind := range kinds {
		mapping, err := c.RESTMapper().RESTMapping(kind)
		if meta.IsNoMatchError(err) {
			continue // Its definition is gone, and all of its objects with it.
		}
		if err != nil {
			return nil, fmt.Errorf("look for owners: %w", err)
		}
		if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
			continue // It has no owner in a namespace.
		}
		fresh := func() *metav1.PartialObjectMetadataList {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(kind.Kind + "List"))
			return list
		}
		err = pagesOf(ctx, c, fresh, func(page *metav1.PartialObjectMetadataList) {
			for i := range page.Items {
				for _, owner := range page.Items[i].OwnerReferences {
					if _, ours := owned[owner.UID]; ours {
						owned[owner.UID] = append(owned[owner.UID], kind.Kind+"/"+page.Items[i].Name)
					}
				}
			}
		}, client.InNamespace(e.namespace))
		if apierrors.IsForbidden(err) {
			say(told, "Who owns each %s is not looked at here, for want of permission: the controller does.", kind.Kind)
			continue
		}
		if err != nil {
			return nil, e.read("list "+kind.String(), err)
		}
	}
	for _, names := range owned {
		slices.Sort(names)
	}
	return owned, nil
}
