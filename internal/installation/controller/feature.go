package controller

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
)

// feature connects the engine with the pure package.
type feature struct{ cache client.Reader }

var _ kit.Feature[*v1beta1.Mattermost, installation.Snapshot] = feature{}

func (f feature) Observe(ctx context.Context, mm *v1beta1.Mattermost) (installation.Snapshot, error) {
	return Observe(ctx, f.cache, mm)
}

func (feature) Decide(s installation.Snapshot, now time.Time) plan.Plan {
	return installation.Decide(s, now)
}

func (feature) Act(ctx context.Context, w *kit.Writer, _ installation.Snapshot, action plan.Action) error {
	switch action := action.(type) {
	case installation.WriteBack:
		return w.Update(ctx, mattermosts, action.Mattermost.DeepCopy())
	default:
		return fmt.Errorf("unknown action %q", action)
	}
}

func (feature) Report(s installation.Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1beta1.Mattermost {
	return installation.Report(s, p, outcome, now)
}

func (feature) Unknown(mm *v1beta1.Mattermost, err error, now time.Time) *v1beta1.Mattermost {
	return installation.Unknown(mm, err, now)
}

func (feature) Announce(before, after *v1beta1.Mattermost, _ plan.Plan, _ plan.Outcome) []kit.Event {
	return announce(before, after)
}

// Observe reads what a decision about the installation needs. The reader has to
// serve the indexes of this package; Uncached serves them without a cache.
func Observe(ctx context.Context, reader client.Reader, mm *v1beta1.Mattermost) (installation.Snapshot, error) {
	s := installation.Snapshot{Mattermost: mm, Secrets: map[string]installation.Secret{}}
	for _, name := range installation.References(mm) {
		var secret corev1.Secret
		err := reader.Get(ctx, types.NamespacedName{Namespace: mm.Namespace, Name: name}, &secret)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return s, fmt.Errorf("get Secret/%s: %w", name, err)
		}
		s.Secrets[name] = installation.FactsOf(&secret)
	}
	var err error
	if s.Live, err = written.Live(ctx, reader, mm, installation.Names(mm)); err != nil {
		return s, err
	}
	if err := observeDeployment(ctx, reader, &s); err != nil {
		return s, err
	}
	return s, observeJobs(ctx, reader, &s)
}

func observeDeployment(ctx context.Context, reader client.Reader, s *installation.Snapshot) error {
	var list appsv1.DeploymentList
	if err := reader.List(ctx, &list, ownedBy(s.Mattermost)...); err != nil {
		return fmt.Errorf("list Deployments: %w", err)
	}
	for i := range list.Items {
		if list.Items[i].Name == s.Mattermost.Name {
			s.Deployment = &list.Items[i]
		}
	}
	if s.Deployment == nil {
		return nil
	}
	var sets appsv1.ReplicaSetList
	if err := reader.List(ctx, &sets, ownedBy(s.Deployment)...); err != nil {
		return fmt.Errorf("list ReplicaSets: %w", err)
	}
	s.ReplicaSets = sets.Items
	var autoscalers autoscalingv2.HorizontalPodAutoscalerList
	if err := reader.List(ctx, &autoscalers, client.InNamespace(s.Mattermost.Namespace), client.MatchingFields{targetIndex: s.Deployment.Name}); err != nil {
		return fmt.Errorf("list HorizontalPodAutoscalers: %w", err)
	}
	s.Autoscaled = len(autoscalers.Items) > 0
	return nil
}

func observeJobs(ctx context.Context, reader client.Reader, s *installation.Snapshot) error {
	var list batchv1.JobList
	if err := reader.List(ctx, &list, ownedBy(s.Mattermost)...); err != nil {
		return fmt.Errorf("list Jobs: %w", err)
	}
	s.Jobs = list.Items
	return nil
}

func ownedBy(owner client.Object) []client.ListOption {
	return []client.ListOption{
		client.InNamespace(owner.GetNamespace()),
		client.MatchingFields{kit.OwnerIndex: string(owner.GetUID())},
	}
}
