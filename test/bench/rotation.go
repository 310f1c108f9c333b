package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/rotation/virtual"
	"windlass.dev/test/bench/rotationmodels"
)

// rotationRow is one run in virtual time.
type rotationRow struct {
	Name         string `json:"name"`
	SurgePercent int    `json:"surge_percent"`
	// Seconds until the last outdated node is empty and told to end. The bound is what
	// cannot be beaten: a boot, and then pods that leave one by one, or nodes that take turns.
	Seconds      float64 `json:"seconds"`
	BoundSeconds float64 `json:"bound_seconds"`
	Ratio        float64 `json:"ratio"`
	// EmptiedSeconds until its last pod is gone, where the bound ends: the node itself is kept
	// until the pods that left it are Ready elsewhere.
	EmptiedSeconds float64 `json:"emptied_seconds,omitempty"`
	// FinishedSeconds until the run has given everything back.
	FinishedSeconds float64 `json:"finished_seconds,omitempty"`
	EvictionsPerPod float64 `json:"evictions_per_pod"`
}

// rotationFigures are what the benchmark prints after its rows.
type rotationFigures struct {
	Benchmark string `json:"benchmark"`
	Nodes     int    `json:"nodes"`
	Rows      int    `json:"rows"`
}

func rotationTimes(_ context.Context, arguments []string) (any, error) {
	flags := flag.NewFlagSet("rotation", flag.ContinueOnError)
	nodes := flags.Int("nodes", 100, "how many nodes")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if *nodes < 10 {
		return nil, errors.New("-nodes has to be at least 10")
	}
	rows := 0
	tell := func(row rotationRow) error {
		rows++
		return json.NewEncoder(os.Stdout).Encode(row)
	}
	standard := rotationmodels.Standard(*nodes)
	prefetched := standard
	prefetched.Ready = 10 * time.Second
	uneven := standard
	uneven.Boot = time.Minute // The fastest.
	none := &v1alpha1.Drain{WaitForReplacements: new(false)}
	for _, c := range []struct {
		name   string
		world  func(int) *virtual.World
		load   rotationmodels.Workload
		drain  *v1alpha1.Drain
		surges []int
	}{
		{"windlass", virtual.Standard, standard, nil, []int{5, 10, 25, 100}},
		{"windlass, not waiting for replacements", virtual.Standard, standard, none, []int{25, 100}},
		{"windlass, prefetched images", virtual.Standard, prefetched, nil, []int{25, 100}},
		{"windlass, uneven nodes", virtual.Uneven, uneven, nil, []int{25, 100}},
	} {
		for _, surge := range c.surges {
			row, err := rotateOnce(c.world(*nodes), c.load, surge, c.drain)
			if err != nil {
				return nil, fmt.Errorf("%s at %d %%: %w", c.name, surge, err)
			}
			row.Name = c.name
			if err := tell(row); err != nil {
				return nil, err
			}
		}
	}
	for _, model := range rotationmodels.Models(*nodes) {
		r := model.Run(standard)
		row := rotationRow{Name: r.Name, SurgePercent: r.SurgePercent, Seconds: r.Seconds, BoundSeconds: rotationmodels.Bound(standard, model.Batch), EvictionsPerPod: r.EvictionsPerPod}
		row.Ratio = row.Seconds / row.BoundSeconds
		if err := tell(row); err != nil {
			return nil, err
		}
	}
	return rotationFigures{Benchmark: "rotation", Nodes: *nodes, Rows: rows}, nil
}

// rotateOnce carries out one run, and says how long it took.
func rotateOnce(w *virtual.World, load rotationmodels.Workload, surge int, drain *v1alpha1.Drain) (rotationRow, error) {
	w.PodReady, w.PodEnd = load.Ready, load.Termination
	pods, began := w.Pods(), w.Now
	w.Begin(v1alpha1.NodeRotationSpec{Strategy: &v1alpha1.Strategy{MaxSurge: new(intstr.FromString(fmt.Sprintf("%d%%", surge))), MinReadySeconds: new(int32(0)), Drain: drain}})
	took, over := w.Go(24 * time.Hour)
	switch {
	case len(w.Violations) > 0:
		return rotationRow{}, errors.New(w.Problems())
	case !over || w.Run.Status.Phase != v1alpha1.Succeeded:
		return rotationRow{}, fmt.Errorf("the run is %s after %s: %v", w.Run.Status.Phase, took, w.Run.Status.Waits)
	}
	row := rotationRow{
		SurgePercent: surge, Seconds: w.Emptied.Sub(began).Seconds(), BoundSeconds: rotationmodels.Bound(load, max(1, load.Nodes*surge/100)),
		FinishedSeconds: took.Seconds(), EvictionsPerPod: float64(w.Evictions) / float64(pods),
	}
	var emptied time.Time
	for _, r := range w.Records {
		if at := r.Status.DrainedAt; at != nil && at.After(emptied) {
			emptied = at.Time
		}
	}
	row.EmptiedSeconds = emptied.Sub(began).Seconds()
	row.Ratio = row.Seconds / row.BoundSeconds
	return row, nil
}
