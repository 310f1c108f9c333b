package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"path/filepath"
	"time"

	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/fleet/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/install"
)

// rolloutFigures are what the benchmark of roll-outs prints.
type rolloutFigures struct {
	Benchmark string `json:"benchmark"`
	N         int    `json:"n"`
	// Seconds is from the making of the roll-out until it has succeeded.
	Seconds float64 `json:"seconds"`
	// DecideP50Millis and DecideP99Millis are upper bounds: the edges of the histogram's buckets;
	// -1 for more than the last edge.
	DecideP50Millis float64 `json:"decide_p50_ms"`
	DecideP99Millis float64 `json:"decide_p99_ms"`
	// Decisions are how many were timed, and DecideMeanMillis is their mean.
	Decisions        uint64  `json:"decisions"`
	DecideMeanMillis float64 `json:"decide_mean_ms"`
	// WritesPerInstallation counts what roll-outs write to installations.
	WritesPerInstallation float64 `json:"writes_per_installation"`
	// StatusWrites are those of the roll-out's own status.
	StatusWrites int `json:"status_writes"`
	// SteadyWrites are all of Windlass', in ten seconds after the end.
	SteadyWrites int     `json:"steady_writes"`
	RSSMiB       float64 `json:"rss_mib"`
}

// rolloutTimes rolls a setting, which restarts all pods, over a fleet.
func rolloutTimes(ctx context.Context, arguments []string) (any, error) {
	var o options
	inFlight := 0
	flags := flag.NewFlagSet("rollout", flag.ContinueOnError)
	flags.IntVar(&o.n, "n", 5000, "how many installations, a namespace each")
	flags.IntVar(&inFlight, "in-flight", 100, "how many may be updating at a time")
	flags.BoolVar(&o.apart, "apart", false, "run Windlass in a session of its own, which Linux shares the processors out to as to a pod")
	flags.StringVar(&o.windlass, "windlass", filepath.Join("bin", "windlass"), "the binary to measure")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	o.concurrency = config.Default().Installations.Concurrency
	f := rolloutFigures{Benchmark: "rollout", N: o.n}
	err := onTrial(ctx, o, func(t *trial) error { return f.measure(ctx, t, inFlight) })
	return f, err
}

// patient has nobody lose a lease that nobody else wants. A busy machine may take longer to
// renew one than the shipped 10 s, and the process would end, as it has to.
const patient = "leases: {duration: 120s, renewDeadline: 90s, retryPeriod: 2s}\n"

func (f *rolloutFigures) measure(ctx context.Context, t *trial, inFlight int) error {
	p, err := t.start(ctx, patient)
	if err != nil {
		return err
	}
	defer func() { _ = p.terminate() }() // It has ended already unless something failed.
	ctx, cancel := p.lives(ctx)
	defer cancel()
	err = errors.Join(p.observed(ctx, 0, 0), t.fleet.create(ctx))
	if err == nil {
		err = t.fleet.until(ctx, v1beta1.GroupVersion.WithKind("Mattermost"), stable)
	}
	if err == nil {
		logf("%d installations are stable", f.N)
		err = f.roll(ctx, t, p, inFlight)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", errors.Join(err, context.Cause(ctx)), tail(p.stderr.String()))
	}
	return errors.Join(p.terminate(), p.ended())
}

func (f *rolloutFigures) roll(ctx context.Context, t *trial, p *process, inFlight int) error {
	from, err := t.cluster.Audit().Mark(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	r := &v1alpha1.InstallationRollout{ObjectMeta: metav1.ObjectMeta{Name: "bench"}, Spec: v1alpha1.InstallationRolloutSpec{
		Change:   v1alpha1.InstallationChange{Restart: "bench"},
		Strategy: &v1alpha1.RolloutStrategy{MaxInFlight: new(intstr.FromInt32(int32(inFlight)))},
	}}
	if err := t.fleet.client.Create(ctx, r); err != nil {
		return err
	}
	if err := succeeds(ctx, t.fleet.client, r); err != nil {
		return fmt.Errorf("roll out: %w: %+v", err, r.Status)
	}
	f.Seconds = time.Since(start).Seconds()
	if err := p.observed(ctx, 0, 0); err != nil {
		return err
	}
	families, err := p.scrape(ctx)
	if err != nil {
		return err
	}
	f.decided(families["windlass_rollout_decide_seconds"])
	if f.RSSMiB, err = p.peakMemory(); err != nil {
		return err
	}
	if err := f.written(ctx, t, from); err != nil {
		return err
	}
	if from, err = t.cluster.Audit().Mark(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(10 * time.Second): // Which is what is measured.
	case <-ctx.Done():
		return ctx.Err()
	}
	counted, err := t.count(ctx, from)
	if err != nil {
		return err
	}
	f.SteadyWrites = counted.writes
	f.RSSMiB, err = p.peakMemory()
	return err
}

// succeeds waits until a roll-out has succeeded, for as long as it moves.
func succeeds(ctx context.Context, c client.Client, r *v1alpha1.InstallationRollout) error {
	updated, moved := int32(0), time.Now()
	return wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if err := c.Get(ctx, client.ObjectKeyFromObject(r), r); err != nil {
			return false, err
		}
		if r.Status.Updated != updated {
			updated, moved = r.Status.Updated, time.Now()
		}
		if time.Since(moved) > stuck {
			return false, fmt.Errorf("no installation was updated for %s", stuck)
		}
		return r.Status.Phase == v1alpha1.Succeeded, nil
	})
}

// written counts the writes to installations' specs and to roll-outs. Nobody else writes to
// specs here: there are no defaults left to be written back.
func (f *rolloutFigures) written(ctx context.Context, t *trial, from devcluster.Mark) error {
	to, err := t.cluster.Audit().Mark(ctx)
	if err != nil {
		return err
	}
	requests, err := t.cluster.Audit().Since(from, to, install.Identity)
	changes := 0
	for _, r := range requests {
		switch {
		case r.Write() && r.Resource == "installationrollouts/status":
			f.StatusWrites++
		case r.Write() && r.Resource == "mattermosts":
			changes++
		}
	}
	f.WritesPerInstallation = float64(changes) / float64(f.N)
	return err
}

func (f *rolloutFigures) decided(family *dto.MetricFamily) {
	f.DecideP50Millis, f.DecideP99Millis = millis(quantile(family, .5)), millis(quantile(family, .99))
	for _, metric := range family.GetMetric() {
		h := metric.GetHistogram()
		f.Decisions = h.GetSampleCount()
		for _, bucket := range h.GetBucket() {
			logf("%d of %d decisions took at most %g ms", bucket.GetCumulativeCount(), f.Decisions, bucket.GetUpperBound()*1000)
		}
		f.DecideMeanMillis = h.GetSampleSum() / max(float64(h.GetSampleCount()), 1) * 1000
	}
}

// millis is -1 for what JSON cannot say.
func millis(seconds float64) float64 {
	if math.IsInf(seconds, 1) {
		return -1
	}
	return seconds * 1000
}

// quantile is the upper edge of the bucket that a share of a histogram lies within.
func quantile(family *dto.MetricFamily, share float64) float64 {
	for _, metric := range family.GetMetric() {
		h := metric.GetHistogram()
		for _, bucket := range h.GetBucket() {
			if float64(bucket.GetCumulativeCount()) >= share*float64(h.GetSampleCount()) {
				return bucket.GetUpperBound()
			}
		}
	}
	return math.Inf(1)
}
