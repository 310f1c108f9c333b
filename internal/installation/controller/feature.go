package controller

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
)

// feature connects the engine with the pure package.
type feature struct {
	cache client.Reader
	// live reads past the cache.
	live      client.Reader
	optional  kit.Optional
	newShape  v1beta1.Shape
	namespace string
}

var _ kit.Feature[*v1beta1.Mattermost, installation.Snapshot] = (*feature)(nil)

func (f *feature) Observe(ctx context.Context, mm *v1beta1.Mattermost) (installation.Snapshot, error) {
	s, err := observe(ctx, f.cache, f.optional.Served, mm)
	if err != nil {
		return s, err
	}
	s.NewShape = f.newShape
	if s.Outgoing, err = observeOutgoing(ctx, f.live, mm); err != nil {
		return s, err
	}
	if s.Freeze, err = observeFreeze(ctx, f.cache, f.namespace); err != nil {
		return s, err
	}
	// Only reported, so that a look from the command line does without the right to it.
	s.Namesakes, err = namesakesOf(ctx, f.cache, mattermosts, mm)
	return s, err
}

func (*feature) Decide(s installation.Snapshot, now time.Time) plan.Plan {
	return installation.Decide(s, now)
}

func (*feature) Act(ctx context.Context, w *kit.Writer, _ installation.Snapshot, action plan.Action) error {
	return act(ctx, w, action)
}

// act carries out what is not done by applying or deleting.
func act(ctx context.Context, w *kit.Writer, action plan.Action) error {
	switch action := action.(type) {
	case installation.WriteBack:
		return w.Update(ctx, mattermosts, action.Mattermost.DeepCopy())
	case clusterinstallation.Prepare:
		return prepare(ctx, w, action)
	case clusterinstallation.Retire:
		return retire(ctx, w, action)
	case clusterinstallation.WriteBack:
		return w.Update(ctx, clusterInstallations, action.ClusterInstallation.DeepCopy())
	case installation.ChangePod:
		return changePod(ctx, w, action)
	case installation.ChangeSet:
		return changeSet(ctx, w, action)
	case installation.DeleteSet:
		return deleteSet(ctx, w, action)
	case installation.GenerateSecret:
		return w.Create(ctx, secrets, generate(action))
	case installation.MakeIngressClass:
		return w.Create(ctx, ingressClasses, action.Class.DeepCopy())
	default:
		return fmt.Errorf("unknown action %q", action)
	}
}

func (*feature) Report(s installation.Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1beta1.Mattermost {
	return installation.Report(s, p, outcome, now)
}

func (*feature) Unknown(mm *v1beta1.Mattermost, err error, now time.Time) *v1beta1.Mattermost {
	return installation.Unknown(mm, err, now)
}

func (*feature) Announce(before, after *v1beta1.Mattermost, _ plan.Plan, _ plan.Outcome) []kit.Event {
	return announce(before.Status.Conditions, after.Status.Conditions)
}

// generate fills a Secret. Its values are known to nobody until it is read.
func generate(g installation.GenerateSecret) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: g.Name, Labels: g.Labels, OwnerReferences: g.Owners},
		Type:       corev1.SecretTypeOpaque,
		StringData: maps.Clone(g.Fixed),
	}
	if secret.StringData == nil {
		secret.StringData = map[string]string{}
	}
	for key, length := range g.Random {
		text := ""
		for len(text) < length {
			text += rand.Text() // 26 letters and digits, 5 bits each.
		}
		secret.StringData[key] = text[:length]
	}
	return secret
}

// Observe reads from the API server what a decision about the installation needs,
// for one look from the command line. Namespace is Windlass' own.
func Observe(ctx context.Context, c client.Client, namespace string, mm *v1beta1.Mattermost) (installation.Snapshot, error) {
	served := func(_ context.Context, kind kit.Kind) (bool, error) { return kit.Served(c.RESTMapper(), kind) }
	s, err := observe(ctx, uncached{c}, served, mm)
	if err != nil {
		return s, err
	}
	if s.Outgoing, err = observeOutgoing(ctx, c, mm); err != nil {
		return s, err
	}
	s.Freeze, err = observeFreeze(ctx, c, namespace)
	if apierrors.IsForbidden(err) {
		return s, nil // Who looks after an installation need not see Windlass' namespace.
	}
	return s, err
}

// observeFreeze reads whether the cluster admits new installations.
func observeFreeze(ctx context.Context, reader client.Reader, namespace string) (*coordinationv1.Lease, error) {
	var lease coordinationv1.Lease
	err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: v1beta1.AdmissionFreeze}, &lease)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // There is no freeze, and that is no error.
	}
	if err != nil {
		return nil, fmt.Errorf("get Lease/%s: %w", v1beta1.AdmissionFreeze, err)
	}
	return &lease, nil
}

// served reports whether the API server knows a kind. What it says yes to can be
// read.
type served func(context.Context, kit.Kind) (bool, error)

// observe reads what a decision about the installation needs. The reader has to
// serve the indexes of this package. More are further names that it needs.
func observe(ctx context.Context, reader client.Reader, served served, mm *v1beta1.Mattermost, more ...plan.Ref) (installation.Snapshot, error) {
	s := installation.Snapshot{Mattermost: mm}
	var err error
	if s.Older, err = observeOlder(ctx, reader, served, mm); err != nil {
		return s, err
	}
	return s, observeObjects(ctx, reader, served, &s, more...)
}

// observeObjects reads what there is of an installation, and of its predecessor.
func observeObjects(ctx context.Context, reader client.Reader, served served, s *installation.Snapshot, more ...plan.Ref) error {
	mm := s.Mattermost
	var err error
	if s.Secrets, err = observeSecrets(ctx, reader, mm.Namespace, installation.References(mm)); err != nil {
		return err
	}
	names := append(installation.Names(mm), more...)
	if err := observeCompanions(ctx, reader, served, s); err != nil {
		return err
	}
	if err := observePreUpgrade(ctx, reader, served, s); err != nil {
		return err
	}
	for ref := range s.Companions {
		names = append(names, ref)
	}
	if s.Live, err = written.Live(ctx, reader, mm, names); err != nil {
		return err
	}
	if err := observePredecessors(ctx, reader, s); err != nil {
		return err
	}
	if err := observeDeployments(ctx, reader, s); err != nil {
		return err
	}
	if err := observeService(ctx, reader, s); err != nil {
		return err
	}
	if err := observeClaim(ctx, reader, s); err != nil {
		return err
	}
	if err := observeBudgets(ctx, reader, s); err != nil {
		return err
	}
	return observeJobs(ctx, reader, s)
}

// observeSecrets reads facts about those Secrets that exist.
func observeSecrets(ctx context.Context, reader client.Reader, namespace string, names []string) (map[string]installation.Secret, error) {
	all := map[string]installation.Secret{}
	for _, name := range names {
		var secret corev1.Secret
		err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &secret)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return all, fmt.Errorf("get Secret/%s: %w", name, err)
		}
		all[name] = installation.FactsOf(&secret)
	}
	return all, nil
}

// companionTimeout bounds the wait for a cache that fills when the first
// installation asks for a kind: without permission it never does.
const companionTimeout = 10 * time.Second

// observeCompanions reads what is of kinds that not every cluster knows, or that
// few installations need.
func observeCompanions(ctx context.Context, reader client.Reader, served served, s *installation.Snapshot) error {
	ctx, cancel := context.WithTimeout(ctx, companionTimeout)
	defer cancel()
	s.Companions = map[plan.Ref]*unstructured.Unstructured{}
	for _, c := range installation.Companions(s.Mattermost) {
		kind := kit.Unstructured(c.Kind)
		known, err := served(ctx, kind)
		if err != nil {
			return err
		}
		if !known {
			s.Unserved = append(s.Unserved, c)
			continue
		}
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(c.Kind)
		err = reader.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: c.Name}, object)
		if err == nil {
			s.Companions[c.Ref] = object
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get %s: %w", c.Ref, err)
		}
	}
	var class networkingv1.IngressClass
	found, err := observeRare(ctx, reader, served, ingressClasses, types.NamespacedName{Name: installation.NeedsIngressClass(s.Mattermost)}, &class)
	if found {
		s.IngressClass = &class
	}
	return err
}

// observePreUpgrade reads the CronJob that the spec names.
func observePreUpgrade(ctx context.Context, reader client.Reader, served served, s *installation.Snapshot) error {
	ctx, cancel := context.WithTimeout(ctx, companionTimeout)
	defer cancel()
	var template batchv1.CronJob
	found, err := observeRare(ctx, reader, served, cronJobs, types.NamespacedName{Namespace: s.Mattermost.Namespace, Name: installation.PreUpgrade(s.Mattermost)}, &template)
	if found {
		s.PreUpgrade = &template
	}
	return err
}

// observeRare reads an object of a kind that few installations need, and that is
// watched from when the first one does. No name means that it is not needed.
func observeRare(ctx context.Context, reader client.Reader, served served, kind kit.Kind, name types.NamespacedName, object client.Object) (found bool, err error) {
	if name.Name == "" {
		return false, nil
	}
	if _, err := served(ctx, kind); err != nil {
		return false, err
	}
	err = reader.Get(ctx, name, object)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get %s/%s: %w", kind.Kind, name.Name, err)
	}
	return err == nil, nil
}

// observeService takes the Service of the installation's name, or of its set's, if the
// installation controls it.
func observeService(ctx context.Context, reader client.Reader, s *installation.Snapshot) error {
	var service corev1.Service
	err := reader.Get(ctx, types.NamespacedName{Namespace: s.Mattermost.Namespace, Name: s.Name()}, &service)
	if err == nil && slices.ContainsFunc(owners(s), func(o client.Object) bool { return metav1.IsControlledBy(&service, o) }) {
		s.Service = &service
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get Service/%s: %w", s.Name(), err)
	}
	return nil
}

func observeClaim(ctx context.Context, reader client.Reader, s *installation.Snapshot) error {
	name := installation.ClaimName(s.Mattermost)
	if name == "" {
		return nil
	}
	var claim corev1.PersistentVolumeClaim
	err := reader.Get(ctx, types.NamespacedName{Namespace: s.Mattermost.Namespace, Name: name}, &claim)
	if err == nil {
		s.Claim = &claim
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get PersistentVolumeClaim/%s: %w", name, err)
	}
	return nil
}

func observeDeployments(ctx context.Context, reader client.Reader, s *installation.Snapshot) error {
	for _, owner := range owners(s) {
		var list appsv1.DeploymentList
		if err := reader.List(ctx, &list, ownedBy(owner)...); err != nil {
			return fmt.Errorf("list Deployments: %w", err)
		}
		for i := range list.Items {
			switch list.Items[i].Name {
			case s.Name():
				s.Deployment = &list.Items[i]
			case installation.JobServerName(s.Mattermost.Name):
				s.JobServer = &list.Items[i]
			}
		}
	}
	// An autoscaler is one of the name: while the Deployment is made anew, it is still there.
	var autoscalers autoscalingv2.HorizontalPodAutoscalerList
	if err := reader.List(ctx, &autoscalers, client.InNamespace(s.Mattermost.Namespace), client.MatchingFields{targetIndex: s.Name()}); err != nil {
		return fmt.Errorf("list HorizontalPodAutoscalers: %w", err)
	}
	s.Autoscaled = len(autoscalers.Items) > 0
	if s.Deployment == nil {
		return nil
	}
	var sets appsv1.ReplicaSetList
	if err := reader.List(ctx, &sets, ownedBy(s.Deployment)...); err != nil {
		return fmt.Errorf("list ReplicaSets: %w", err)
	}
	s.ReplicaSets = sets.Items
	return nil
}

func observeBudgets(ctx context.Context, reader client.Reader, s *installation.Snapshot) error {
	var list policyv1.PodDisruptionBudgetList
	if err := reader.List(ctx, &list, client.InNamespace(s.Mattermost.Namespace), client.MatchingFields{foreignIndex: foreign}); err != nil {
		return fmt.Errorf("list PodDisruptionBudgets: %w", err)
	}
	s.Budgets = list.Items
	return nil
}

func observeJobs(ctx context.Context, reader client.Reader, s *installation.Snapshot) error {
	for _, owner := range owners(s) {
		var list batchv1.JobList
		if err := reader.List(ctx, &list, ownedBy(owner)...); err != nil {
			return fmt.Errorf("list Jobs: %w", err)
		}
		s.Jobs = append(s.Jobs, list.Items...)
	}
	return nil
}

func ownedBy(owner client.Object) []client.ListOption {
	return []client.ListOption{
		client.InNamespace(owner.GetNamespace()),
		client.MatchingFields{kit.OwnerIndex: string(owner.GetUID())},
	}
}
