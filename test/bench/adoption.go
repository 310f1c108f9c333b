package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/installation"
)

// adoptionFigures are what it takes to take a fleet over from the Mattermost
// Operator.
type adoptionFigures struct {
	Benchmark string `json:"benchmark"`
	N         int    `json:"n"`
	// Seconds is from the start of the process until all are stable.
	Seconds float64 `json:"seconds"`
	// PodRestarts is how many pods are others than before, or were restarted.
	PodRestarts           int     `json:"pod_restarts"`
	WritesPerInstallation float64 `json:"writes_per_installation"`
	ReadsPerInstallation  float64 `json:"reads_per_installation"`
	RSSMiB                float64 `json:"rss_mib"`
	CPUSeconds            float64 `json:"cpu_seconds"`
}

func adoption(ctx context.Context, arguments []string) (any, error) {
	o := options{pairs: 1, concurrency: config.Default().Installations.Concurrency}
	flags := flag.NewFlagSet("adoption", flag.ContinueOnError)
	flags.IntVar(&o.n, "n", 200, "how many installations, a namespace each")
	flags.StringVar(&o.windlass, "windlass", filepath.Join("bin", "windlass"), "the binary to measure")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if o.n < 1 {
		return nil, errors.New("-n has to be at least 1")
	}
	figures := adoptionFigures{Benchmark: "adoption", N: o.n}
	err := onTrial(ctx, o, func(t *trial) error { return t.takeOver(ctx, &figures) })
	return figures, err
}

func (t *trial) takeOver(ctx context.Context, figures *adoptionFigures) error {
	logf("making %d installations as the Mattermost Operator leaves them", t.o.n)
	if err := t.fleet.leave(ctx); err != nil {
		return err
	}
	before, err := t.fleet.podsOf(ctx)
	if err != nil {
		return err
	}
	from, err := t.cluster.Audit().Mark(ctx)
	if err != nil {
		return err
	}
	logf("taking them over")
	start := time.Now()
	p, err := t.start(ctx, "")
	if err != nil {
		return err
	}
	defer func() { _ = p.terminate() }() // It has ended already unless something failed.
	if err := t.fleet.until(ctx, v1beta1.GroupVersion.WithKind("Mattermost"), stable); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(p.stderr.String()))
	}
	figures.Seconds = time.Since(start).Seconds()
	if err := p.observed(ctx, t.o.n, 0); err != nil { // What is still in hand counts too.
		return err
	}
	after, err := t.fleet.podsOf(ctx)
	if err != nil {
		return err
	}
	figures.PodRestarts = changedPods(before, after)
	counted, err := t.count(ctx, from)
	if err != nil {
		return err
	}
	figures.WritesPerInstallation = float64(counted.writes) / float64(t.o.n)
	figures.ReadsPerInstallation = float64(counted.reads) / float64(t.o.n)
	if figures.RSSMiB, err = p.peakMemory(); err != nil {
		return err
	}
	if figures.CPUSeconds, err = p.cpu(); err != nil {
		return err
	}
	return errors.Join(p.terminate(), p.ended())
}

// leave makes what the Mattermost Operator makes of each resource, as that operator,
// and waits until it runs.
func (f *fleet) leave(ctx context.Context) error {
	if err := f.create(ctx); err != nil {
		return err
	}
	objects, err := f.render(ctx, v1beta1.ShapeStrict)
	if err != nil {
		return err
	}
	err = f.each(ctx, func(ctx context.Context, namespace string) error {
		for _, object := range objects[namespace] {
			annotations := object.GetAnnotations()
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations["mattermost.com/last-applied"] = "UEsDBBQ"
			object.SetAnnotations(annotations)
			if err := f.client.Create(ctx, object, client.FieldOwner(installation.Former)); err != nil {
				return err
			}
		}
		var mm v1beta1.Mattermost
		if err := f.client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &mm); err != nil {
			return err
		}
		mm.Spec = installation.Default(&mm).Spec
		if err := f.client.Update(ctx, &mm, client.FieldOwner(installation.Former)); err != nil {
			return err
		}
		mm.Status.State = v1beta1.Reconciling
		return f.client.Status().Update(ctx, &mm, client.FieldOwner(installation.Former))
	})
	if err != nil {
		return err
	}
	return f.until(ctx, appsv1.SchemeGroupVersion.WithKind("Deployment"), available)
}

// podsOf returns the restarts of each pod of the fleet, by its UID.
func (f *fleet) podsOf(ctx context.Context) (map[types.UID]int32, error) {
	var list corev1.PodList
	if err := f.client.List(ctx, &list, client.MatchingLabels{"app": "mattermost"}); err != nil {
		return nil, err
	}
	all := map[types.UID]int32{}
	for i := range list.Items {
		all[list.Items[i].UID] = 0
		for _, c := range list.Items[i].Status.ContainerStatuses {
			all[list.Items[i].UID] += c.RestartCount
		}
	}
	return all, nil
}
