package main

import (
	"context"
	"errors"
	"flag"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/rotation"
	"windlass.dev/internal/rotation/virtual"
)

// planningFigures are what the benchmark planning prints.
type planningFigures struct {
	Benchmark string `json:"benchmark"`
	Nodes     int    `json:"nodes"`
	Pods      int    `json:"pods"`
	Surge     string `json:"surge"`
	// Open is how many nodes were open at least, and at the end.
	OpenFrom int   `json:"open_from"`
	OpenTo   int32 `json:"open_to"`
	// PlanSeconds is one dry run over an index that is filled.
	PlanSeconds float64 `json:"plan_seconds"`
	// Decisions of a run in virtual time, one after each moment at which something
	// happened.
	Decisions   int     `json:"decisions"`
	DecideP50Ms float64 `json:"decide_p50_ms"`
	DecideP99Ms float64 `json:"decide_p99_ms"`
	DecideMaxMs float64 `json:"decide_max_ms"`
	// RSSMiB is the memory of this process, which holds the objects of the cluster as well.
	RSSMiB float64 `json:"rss_mib"`
}

func planning(_ context.Context, arguments []string) (any, error) {
	flags := flag.NewFlagSet("planning", flag.ContinueOnError)
	nodes := flags.Int("nodes", 5000, "how many nodes")
	decisions := flags.Int("decisions", 3000, "how many decisions to time")
	open := flags.Int("open", 0, "from how many open nodes on to time decisions")
	surge := flags.String("surge", "25%", "maxSurge of the run")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if *nodes < 1 || *decisions < 1 {
		return nil, errors.New("-nodes and -decisions have to be at least 1")
	}
	w := virtual.Standard(*nodes)
	logf("%d nodes and %d pods", *nodes, w.Pods())
	strategy := &v1alpha1.Strategy{MaxSurge: new(intstr.Parse(*surge))}

	w.Begin(v1alpha1.NodeRotationSpec{Strategy: strategy, DryRun: true})
	snapshot := w.Snapshot()
	runtime.GC()
	began := time.Now()
	decided := rotation.Decide(snapshot, w.Now)
	plan := time.Since(began)
	if d, ok := decided.Status.(rotation.Decision); !ok || d.Status.Plan == nil || len(d.Status.Plan.Nodes) == 0 {
		return nil, errors.New("the dry run has planned nothing")
	}
	logf("planned in %s", plan)

	var times []time.Duration
	w.Decided = func(took time.Duration) {
		if len(w.Records) > 0 && int(w.Run.Status.Open) >= *open {
			times = append(times, took)
		}
	}
	// In life no two machines, and no two pods, take as long as each other: so there is
	// something to decide for nearly every one of them.
	w.BootSpread, w.Jitter = time.Minute, 20*time.Second
	w.Describe = 4 * time.Second // As long as the controller keeps it.
	w.Begin(v1alpha1.NodeRotationSpec{Strategy: strategy})
	w.Until(24*time.Hour, func() bool { return len(times) >= *decisions })
	if len(w.Violations) > 0 {
		return nil, errors.New(w.Problems())
	}
	debug.FreeOSMemory()
	rss, err := residentMiB()
	slices.Sort(times)
	ms := func(share float64) float64 {
		i := min(int(math.Ceil(share*float64(len(times)))), len(times)) - 1
		return float64(times[max(i, 0)].Microseconds()) / 1000
	}
	return planningFigures{
		Benchmark: "planning", Nodes: *nodes, Pods: w.Pods(), Surge: *surge, OpenFrom: *open, OpenTo: w.Run.Status.Open, PlanSeconds: plan.Seconds(),
		Decisions: len(times), DecideP50Ms: ms(.5), DecideP99Ms: ms(.99), DecideMaxMs: ms(1), RSSMiB: rss,
	}, err
}

// residentMiB is how much memory this process has, as the kernel says.
func residentMiB() (float64, error) {
	content, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(content), "\nVmRSS:")
	line, _, _ := strings.Cut(rest, "\n")
	kib, err := strconv.ParseFloat(strings.Trim(line, " \tkB"), 64)
	return kib / 1024, err
}
