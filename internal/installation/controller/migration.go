package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// observeOlder reads the ClusterInstallation that a Mattermost was made from, or what
// has its name now.
func observeOlder(ctx context.Context, reader client.Reader, served served, mm *v1beta1.Mattermost) (*v1alpha1.ClusterInstallation, error) {
	if mm.Kind == clusterInstallations.Kind || installation.MigratedFrom(mm) == "" {
		return nil, nil //nolint:nilnil // There is none, and that is no error.
	}
	ctx, cancel := context.WithTimeout(ctx, companionTimeout)
	defer cancel()
	if known, err := served(ctx, clusterInstallations); err != nil || !known {
		return nil, err
	}
	var ci v1alpha1.ClusterInstallation
	err := reader.Get(ctx, client.ObjectKeyFromObject(mm), &ci)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // As above.
	}
	if err != nil {
		return nil, fmt.Errorf("get ClusterInstallation/%s: %w", mm.Name, err)
	}
	return &ci, nil
}

// observeNewer reads the Mattermost that has a ClusterInstallation's name.
func observeNewer(ctx context.Context, reader client.Reader, ci *v1alpha1.ClusterInstallation) (*v1beta1.Mattermost, error) {
	var mm v1beta1.Mattermost
	err := reader.Get(ctx, client.ObjectKeyFromObject(ci), &mm)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // There is none, and that is no error.
	}
	if err != nil {
		return nil, fmt.Errorf("get Mattermost/%s: %w", ci.Name, err)
	}
	return &mm, nil
}

// owners are the installation, and before it the one whose objects it takes over.
func owners(s *installation.Snapshot) []client.Object {
	all := []client.Object{s.Mattermost}
	if before := installation.PredecessorOf(*s); before != "" {
		all = slices.Insert(all, 0, client.Object(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Mattermost.Namespace, Name: s.Mattermost.Name, UID: before,
		}}))
	}
	return all
}

// observePredecessors adds the objects that the one before controls.
func observePredecessors(ctx context.Context, reader client.Reader, s *installation.Snapshot) error {
	for _, owner := range owners(s) {
		if owner.GetUID() == s.Mattermost.UID {
			continue
		}
		more, err := written.Live(ctx, reader, owner, nil)
		if err != nil {
			return err
		}
		for _, live := range more {
			if !slices.ContainsFunc(s.Live, func(l inventory.Live) bool { return l.Ref == live.Ref }) {
				s.Live = append(s.Live, live)
			}
		}
	}
	return nil
}

// prepare makes the Mattermost that a ClusterInstallation is to become. One that is there
// is only changed if it still is what was decided about.
func prepare(ctx context.Context, w *kit.Writer, action clusterinstallation.Prepare) error {
	mm := action.Mattermost.DeepCopy()
	if mm.ResourceVersion == "" {
		return w.Create(ctx, mattermosts, mm)
	}
	return w.Update(ctx, mattermosts, mm)
}

// retire deletes one of the two resources when the API server shows that it has nothing
// any more. What it owns in spite of that stays: it is deleted without its dependents.
func retire(ctx context.Context, w *kit.Writer, action clusterinstallation.Retire) error {
	left, err := dependents(ctx, w.Client(), action.Ref.Namespace, action.UID)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("it is still an owner of %s: have them owned by %s, or by nobody", strings.Join(left, ", "), action.Heir)
	}
	heir := &metav1.PartialObjectMetadata{}
	kind, ok := written.Find(action.Heir.GroupKind())
	if !ok {
		return fmt.Errorf("%s is not among the kinds of this controller", action.Heir)
	}
	heir.SetGroupVersionKind(kind.GroupVersionKind)
	if err := w.Client().Get(ctx, types.NamespacedName{Namespace: action.Heir.Namespace, Name: action.Heir.Name}, heir); err != nil {
		return fmt.Errorf("look for its heir: %w", err)
	}
	if heir.UID != action.HeirUID || heir.DeletionTimestamp != nil {
		return fmt.Errorf("%s, which is to have its objects, is not the one it was, or is being deleted", action.Heir)
	}
	if heir.ResourceVersion != action.HeirVersion {
		return apierrors.NewConflict(kind.GroupVersion().WithResource(kind.Kind).GroupResource(), heir.Name, errors.New("it was changed in the meantime"))
	}
	return w.Delete(ctx, plan.Delete{Ref: action.Ref, UID: action.UID, ResourceVersion: action.ResourceVersion, Orphan: true})
}

// dependents are the objects of which a resource is an owner, as the API server has them,
// of every kind that an installation is made of.
func dependents(ctx context.Context, c client.Client, namespace string, owner types.UID) ([]string, error) {
	kinds := append(slices.Clone(written), kit.Metadata(appsv1.SchemeGroupVersion.WithKind("ReplicaSet")))
	var all []string
	for _, kind := range kinds {
		if kind.Kind == ingressClasses.Kind {
			continue // It is the whole cluster's, and has no owner.
		}
		known, err := kit.Served(c.RESTMapper(), kind)
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		list := kit.Metadata(kind.GroupVersionKind).List()
		if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("list %s: %w", kind.Kind, err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			object, err := meta.Accessor(item)
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(object.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.UID == owner }) {
				all = append(all, kind.Kind+"/"+object.GetName())
			}
		}
	}
	return all, nil
}
