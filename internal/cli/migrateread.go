package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/migration"
)

// pageSize is how many objects one request asks for.
const pageSize = 500

// seenInstallations is what the cluster has of the installations of a scope.
type seenInstallations struct {
	older []v1alpha1.ClusterInstallation
	// newer are all Mattermosts of the namespaces, or of the names.
	newer map[types.NamespacedName]*v1beta1.Mattermost
}

// look reads both kinds: what is named one by one, and all else in pages.
func (s *scope) look(ctx context.Context, c client.Client) (seenInstallations, error) {
	seen := seenInstallations{newer: map[types.NamespacedName]*v1beta1.Mattermost{}}
	if len(s.names) > 0 {
		return seen, s.lookAt(ctx, c, &seen)
	}
	// The older first: one that is gone from this list has its Mattermost in the other.
	err := pages(ctx, c, func(page *v1alpha1.ClusterInstallationList) { seen.older = append(seen.older, page.Items...) },
		client.InNamespace(s.namespace), client.MatchingLabelsSelector{Selector: s.labels})
	if err != nil {
		return seen, s.read("list ClusterInstallations", err)
	}
	err = pages(ctx, c, func(page *v1beta1.MattermostList) {
		for i := range page.Items {
			seen.newer[byName(&page.Items[i])] = &page.Items[i]
		}
	}, client.InNamespace(s.namespace))
	if err != nil {
		return seen, s.read("list Mattermosts", err)
	}
	slices.SortFunc(seen.older, func(a, b v1alpha1.ClusterInstallation) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return seen, nil
}

func (s *scope) lookAt(ctx context.Context, c client.Client, seen *seenInstallations) error {
	var missing []error
	for _, name := range s.names {
		key := types.NamespacedName{Namespace: s.namespace, Name: name}
		ci, mm := v1alpha1.ClusterInstallation{}, &v1beta1.Mattermost{}
		err := c.Get(ctx, key, &ci)
		if client.IgnoreNotFound(err) != nil {
			return s.read("read ClusterInstallation "+key.String(), err)
		}
		isOlder := err == nil
		if err = c.Get(ctx, key, mm); client.IgnoreNotFound(err) != nil {
			return s.read("read Mattermost "+key.String(), err)
		}
		if isOlder {
			seen.older = append(seen.older, ci)
		}
		if err == nil {
			seen.newer[key] = mm
		}
		switch {
		case isOlder || err == nil && installation.MigratedFrom(mm) != "":
		case err == nil:
			missing = append(missing, fmt.Errorf("there is no ClusterInstallation %s in namespace %s; the Mattermost of that name was none", name, s.namespace))
		default:
			missing = append(missing, fmt.Errorf("there is no ClusterInstallation %s in namespace %s; windlass migrate status -A shows all", name, s.namespace))
		}
	}
	if len(missing) > 0 {
		return errNoSuch{errors.Join(missing...)}
	}
	return nil
}

// pages reads a list page by page.
func pages[L any, P interface {
	*L
	client.ObjectList
}](ctx context.Context, c client.Client, take func(P), options ...client.ListOption) error {
	return pagesOf(ctx, c, func() P { return new(L) }, take, options...)
}

// pagesOf is pages for lists that have to be told of what they are.
func pagesOf[P client.ObjectList](ctx context.Context, c client.Client, fresh func() P, take func(P), options ...client.ListOption) error {
	for more := ""; ; {
		page := fresh()
		if err := c.List(ctx, page, append(slices.Clone(options), client.Limit(pageSize), client.Continue(more))...); err != nil {
			return err
		}
		take(page)
		if more = page.GetContinue(); more == "" {
			return nil
		}
	}
}

// facts are what there is beside the installations.
type facts struct {
	// secrets are what is to be known of those, by namespace and name.
	secrets map[string]map[string]installation.Secret
	// restores are those of each namespace.
	restores map[string][]v1alpha1.MattermostRestoreDB
	// secretsUnread and restoresUnread say that they may not be read.
	secretsUnread, restoresUnread bool
}

// factsOf reads what migrations of ClusterInstallations depend on beside them. What may not
// be read is done without.
func (s *scope) factsOf(ctx context.Context, c client.Client, older []v1alpha1.ClusterInstallation) (f facts, err error) {
	if f.secrets, err = s.secretsOf(ctx, c, older); apierrors.IsForbidden(err) {
		f.secretsUnread, err = true, nil
	}
	if err != nil {
		return f, s.read("read Secrets", err)
	}
	f.restores = map[string][]v1alpha1.MattermostRestoreDB{}
	err = pages(ctx, c, func(page *v1alpha1.MattermostRestoreDBList) {
		for _, r := range page.Items {
			f.restores[r.Namespace] = append(f.restores[r.Namespace], r)
		}
	}, client.InNamespace(s.namespace))
	if apierrors.IsForbidden(err) {
		f.restoresUnread, err = true, nil
	}
	if err != nil {
		return f, s.read("list MattermostRestoreDBs", err)
	}
	return f, nil
}

// secretsOf reads the Secrets to which installations refer: a few one by one, and many in
// pages, without those of which clusters have many and large ones. Nothing of them is
// kept but what installations are rendered by. What was read before an error is good.
func (s *scope) secretsOf(ctx context.Context, c client.Client, older []v1alpha1.ClusterInstallation) (map[string]map[string]installation.Secret, error) {
	of := map[string]map[string]installation.Secret{}
	wanted := map[types.NamespacedName]bool{}
	for i := range older {
		for _, name := range clusterinstallation.References(&older[i]) {
			wanted[types.NamespacedName{Namespace: older[i].Namespace, Name: name}] = true
		}
	}
	keep := func(secret *corev1.Secret) {
		if of[secret.Namespace] == nil {
			of[secret.Namespace] = map[string]installation.Secret{}
		}
		of[secret.Namespace][secret.Name] = installation.FactsOf(installation.Redact(secret))
	}
	const fewSecrets = 10
	if len(wanted) <= fewSecrets {
		for key := range wanted {
			var secret corev1.Secret
			if err := c.Get(ctx, key, &secret); err == nil {
				keep(&secret)
			} else if client.IgnoreNotFound(err) != nil {
				return of, err
			}
		}
		return of, nil
	}
	return of, pages(ctx, c, func(page *corev1.SecretList) {
		for i := range page.Items {
			if wanted[byName(&page.Items[i])] {
				keep(&page.Items[i])
			}
		}
	}, client.InNamespace(s.namespace), client.MatchingFieldsSelector{Selector: fields.AndSelectors(
		fields.OneTermNotEqualSelector("type", "helm.sh/release.v1"),
		fields.OneTermNotEqualSelector("type", string(corev1.SecretTypeServiceAccountToken)),
	)})
}

// world is what there is of one of the ClusterInstallations.
func (seen seenInstallations) world(ci *v1alpha1.ClusterInstallation, f facts) migration.World {
	return migration.World{
		ClusterInstallation: ci, Mattermost: seen.newer[byName(ci)],
		Secrets: f.secrets[ci.Namespace], SecretsUnread: f.secretsUnread,
		Restores: f.restores[ci.Namespace], RestoresUnread: f.restoresUnread,
	}
}

// verdicts are those of before, of what has not changed since: to decide about thousands
// takes seconds.
type verdicts map[string]migration.Preflight

// candidates are the ClusterInstallations, each as it is now.
func (seen seenInstallations) candidates(f facts, before verdicts, now time.Time) []migration.Candidate {
	var all []migration.Candidate
	for i := range seen.older {
		ci := &seen.older[i]
		w := seen.world(ci, f)
		versions := []string{string(ci.UID), ci.ResourceVersion}
		if w.Mattermost != nil {
			versions = append(versions, w.Mattermost.ResourceVersion)
		}
		for i := range w.Restores {
			versions = append(versions, w.Restores[i].ResourceVersion)
		}
		version := strings.Join(versions, " ")
		if _, known := before[version]; !known {
			before[version] = migration.Look(w, now)
		}
		one := migration.Candidate{Preflight: before[version]}
		if standing, ok := migration.StandingOf(ci, w.Mattermost); ok {
			one.Standing = &standing
		}
		all = append(all, one)
	}
	return all
}

// standings are those of all migrations that were asked for, sorted; and how many
// ClusterInstallations there are of which none was.
func (seen seenInstallations) standings(matching labels.Selector) (all []migration.Standing, unasked int) {
	older := map[types.NamespacedName]bool{}
	for i := range seen.older {
		ci := &seen.older[i]
		older[byName(ci)] = true
		if standing, ok := migration.StandingOf(ci, seen.newer[byName(ci)]); ok {
			all = append(all, standing)
		} else {
			unasked++
		}
	}
	for name, mm := range seen.newer {
		// The Mattermost has the labels of what it was.
		if older[name] || !matching.Matches(labels.Set(mm.Labels)) {
			continue
		}
		if standing, ok := migration.StandingOf(nil, mm); ok {
			all = append(all, standing)
		}
	}
	migration.Sort(all)
	return all, unasked
}
