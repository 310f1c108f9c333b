package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/install"
)

// figures are what the benchmark of installations prints. Times and sizes are
// medians over the pairs; counts that should be 0 are the highest.
type figures struct {
	Benchmark string `json:"benchmark"`
	N         int    `json:"n"`
	Mixed     bool   `json:"mixed,omitempty"`
	Pairs     int    `json:"pairs"`
	// Seconds is from the first resource's creation until all are stable, and
	// FloorSeconds from the first object's until all Deployments are available.
	Seconds      float64 `json:"seconds"`
	FloorSeconds float64 `json:"floor_seconds"`
	Ratio        float64 `json:"ratio"`

	WritesPerInstallation  float64 `json:"writes_per_installation"`
	ObjectsPerInstallation float64 `json:"objects_per_installation"`
	// Of a full resync of what is as it should be, and of a restart.
	SteadyWrites   int     `json:"steady_writes"`
	SteadyReads    int     `json:"steady_reads"`
	RestartSeconds float64 `json:"restart_seconds"`
	RestartWrites  int     `json:"restart_writes"`

	RSSMiB     float64 `json:"rss_mib"`
	CPUSeconds float64 `json:"cpu_seconds"`
}

type options struct {
	n, pairs, concurrency int
	windlass              string
	mixed                 bool
	// apart has Windlass run in a session of its own.
	apart bool
	// pprof is where a CPU profile of the API server goes; empty for none.
	pprof string
}

func installations(ctx context.Context, arguments []string) (any, error) {
	var o options
	flags := flag.NewFlagSet("installations", flag.ContinueOnError)
	flags.IntVar(&o.n, "n", 200, "how many installations, a namespace each")
	flags.BoolVar(&o.mixed, "mix", false, "use all kinds of databases, file stores and routes, in turn")
	flags.IntVar(&o.pairs, "pairs", 5, "how many times to measure both, alternately")
	flags.StringVar(&o.windlass, "windlass", filepath.Join("bin", "windlass"), "the binary to measure")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if o.n < 1 || o.pairs < 1 {
		return nil, errors.New("-n and -pairs have to be at least 1")
	}
	if _, err := os.Stat(o.windlass); err != nil {
		return nil, fmt.Errorf("run make build controlplane first: %w", err)
	}
	o.concurrency = config.Default().Installations.Concurrency
	var all []figures
	for pair := range o.pairs {
		one, err := measure(ctx, o)
		if err != nil {
			return nil, err
		}
		if one.FloorSeconds, err = floor(ctx, o); err != nil {
			return nil, err
		}
		logf("pair %d of %d: %.1f s, floor %.1f s", pair+1, o.pairs, one.Seconds, one.FloorSeconds)
		all = append(all, one)
	}
	return summarise(o, all), nil
}

func summarise(o options, all []figures) figures {
	middle := func(of func(figures) float64) float64 {
		var values []float64
		for _, one := range all {
			values = append(values, of(one))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	highest := func(of func(figures) int) int {
		most := 0
		for _, one := range all {
			most = max(most, of(one))
		}
		return most
	}
	f := all[0]
	f.Benchmark, f.N, f.Mixed, f.Pairs = "installations", o.n, o.mixed, o.pairs
	f.Seconds = middle(func(f figures) float64 { return f.Seconds })
	f.FloorSeconds = middle(func(f figures) float64 { return f.FloorSeconds })
	f.Ratio = middle(func(f figures) float64 { return f.Seconds / f.FloorSeconds })
	f.WritesPerInstallation = middle(func(f figures) float64 { return f.WritesPerInstallation })
	f.SteadyWrites = highest(func(f figures) int { return f.SteadyWrites })
	f.SteadyReads = highest(func(f figures) int { return f.SteadyReads })
	f.RestartWrites = highest(func(f figures) int { return f.RestartWrites })
	f.RestartSeconds = middle(func(f figures) float64 { return f.RestartSeconds })
	f.RSSMiB = middle(func(f figures) float64 { return f.RSSMiB })
	f.CPUSeconds = middle(func(f figures) float64 { return f.CPUSeconds })
	return f
}

// onCluster runs do on a new cluster with Windlass' definitions and permissions
// and the fleet's namespaces and Secrets: each measurement has its own, so that
// none meets what another left behind.
func onCluster(ctx context.Context, o options, do func(*devcluster.Cluster, *fleet) error) (err error) {
	dir, err := os.MkdirTemp("", "windlass-bench-")
	if err != nil {
		return err
	}
	cluster, err := devcluster.Start(ctx, devcluster.Options{Dir: dir, Nodes: 3 + o.n*pods/100, Ephemeral: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Stop(context.WithoutCancel(ctx))) }()
	f, err := newFleet(cluster.Config(), o)
	if err != nil {
		return err
	}
	objects, err := install.Objects(install.Options{WithoutDeployment: true})
	if err != nil {
		return err
	}
	if err := install.Apply(ctx, f.client, objects, nil); err != nil {
		return err
	}
	if err := errors.Join(f.prepare(ctx), devcluster.MakeGateway(ctx, cluster.Config(), "default", "public")); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return do(cluster, f)
}

// spent returns the CPU time of each process of the cluster, and of this one,
// which simulates the nodes, in seconds.
func spent(cluster *devcluster.Cluster) (map[string]float64, error) {
	all := map[string]float64{}
	pids := cluster.Processes()
	pids["bench and nodes"] = os.Getpid()
	for name, pid := range pids {
		seconds, err := cpuOf(pid)
		if err != nil {
			return nil, err
		}
		all[name] = seconds
	}
	return all, nil
}

// profile tells which processes took the time of what do does.
func profile(cluster *devcluster.Cluster, title string, do func() error) error {
	before, err := spent(cluster)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	after, err := spent(cluster)
	if err != nil {
		return err
	}
	parts := []string{title + ", CPU seconds:"}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		parts = append(parts, fmt.Sprintf("%s %.1f", name, after[name]-before[name]))
	}
	logf("%s", strings.Join(parts, "  "))
	return nil
}

func floor(ctx context.Context, o options) (seconds float64, err error) {
	err = onCluster(ctx, o, func(cluster *devcluster.Cluster, f *fleet) error {
		if err := f.create(ctx); err != nil { // As owners; nobody carries them out.
			return err
		}
		objects, err := f.render(ctx, v1beta1.ShapeStandard)
		if err != nil {
			return err
		}
		return profile(cluster, "floor", func() error {
			start := time.Now()
			if err := f.apply(ctx, objects); err != nil {
				return err
			}
			err = f.until(ctx, appsv1.SchemeGroupVersion.WithKind("Deployment"), available)
			seconds = time.Since(start).Seconds()
			return err
		})
	})
	return seconds, err
}

// trial is one measurement of Windlass.
type trial struct {
	o       options
	dir     string
	cluster *devcluster.Cluster
	fleet   *fleet
	figures figures
	// kubeconfig and token are Windlass' and a monitoring system's access.
	kubeconfig, token string
}

func measure(ctx context.Context, o options) (figures, error) {
	var f figures
	err := onTrial(ctx, o, func(t *trial) error {
		err := t.all(ctx)
		f = t.figures
		return err
	})
	return f, err
}

// onTrial runs do on a new cluster to which Windlass has access.
func onTrial(ctx context.Context, o options, do func(*trial) error) error {
	return onCluster(ctx, o, func(cluster *devcluster.Cluster, fleet *fleet) (err error) {
		dir, err := os.MkdirTemp("", "windlass-bench-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		t := &trial{o: o, dir: dir, cluster: cluster, fleet: fleet}
		if err := t.access(ctx); err != nil {
			return fmt.Errorf("access: %w", err)
		}
		return do(t)
	})
}

// access makes Windlass' kubeconfig and a token that may read metrics.
func (t *trial) access(ctx context.Context) error {
	t.kubeconfig = filepath.Join(t.dir, "kubeconfig")
	if err := t.cluster.WriteKubeconfig(t.kubeconfig, install.Identity); err != nil {
		return err
	}
	const namespace, name = "default", "monitoring"
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: install.Name + "-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}},
	}
	if err := errors.Join(t.fleet.client.Create(ctx, account), t.fleet.client.Create(ctx, binding)); err != nil {
		return err
	}
	clientset, err := kubernetes.NewForConfig(t.cluster.Config())
	if err != nil {
		return err
	}
	request, err := clientset.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	t.token = request.Status.Token
	return nil
}

func (t *trial) start(ctx context.Context, extra string) (*process, error) {
	return startWindlass(ctx, t.o.windlass, t.dir, t.kubeconfig, t.token, extra, t.o.apart)
}

// all measures creation, restart and resync, in this order.
func (t *trial) all(ctx context.Context) error {
	p, err := t.start(ctx, "")
	if err != nil {
		return err
	}
	defer func() { _ = p.terminate() }() // It has ended already unless something failed.
	if err := p.observed(ctx, 0, 0); err != nil {
		return err
	}
	if err := t.creation(ctx, p); err != nil {
		return fmt.Errorf("creation: %w\n%s", err, tail(p.stderr.String()))
	}
	if p, err = t.restart(ctx, p); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if err := errors.Join(p.terminate(), p.ended()); err != nil {
		return err
	}
	if err := t.resync(ctx); err != nil {
		return fmt.Errorf("resync: %w", err)
	}
	return nil
}

func (t *trial) creation(ctx context.Context, p *process) error {
	from, err := t.cluster.Audit().Mark(ctx)
	if err != nil {
		return err
	}
	before, err := p.cpu()
	if err != nil {
		return err
	}
	err = profile(t.cluster, "windlass", func() error {
		start := time.Now()
		if err := t.fleet.create(ctx); err != nil {
			return err
		}
		err := t.fleet.until(ctx, v1beta1.GroupVersion.WithKind("Mattermost"), stable)
		t.figures.Seconds = time.Since(start).Seconds()
		return err
	})
	if err != nil {
		return err
	}
	after, err := p.cpu()
	if err != nil {
		return err
	}
	t.figures.CPUSeconds = after - before
	// What is still in hand, and events, count too.
	if err := p.observed(ctx, 0, 0); err != nil {
		return err
	}
	counted, err := t.count(ctx, from)
	if err != nil {
		return err
	}
	t.figures.WritesPerInstallation = float64(counted.writes) / float64(t.o.n)
	t.figures.ObjectsPerInstallation = float64(counted.objects) / float64(t.o.n)
	t.figures.RSSMiB, err = p.peakMemory()
	return err
}

func (t *trial) restart(ctx context.Context, old *process) (*process, error) {
	from, err := t.cluster.Audit().Mark(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := old.terminate(); err != nil {
		return nil, err
	}
	p, err := t.start(ctx, "")
	if err != nil {
		return nil, err
	}
	if err := old.ended(); err != nil {
		return p, err
	}
	if err := p.observed(ctx, t.o.n, 0); err != nil {
		return p, fmt.Errorf("%w\n%s", err, tail(p.stderr.String()))
	}
	t.figures.RestartSeconds = time.Since(start).Seconds()
	counted, err := t.count(ctx, from)
	t.figures.RestartWrites = counted.writes
	return p, err
}

// resync runs a process that looks at everything every 20 s, and counts over
// the time in which it has looked at least once more.
func (t *trial) resync(ctx context.Context) error {
	p, err := t.start(ctx, "resync: 20s\n")
	if err != nil {
		return err
	}
	if err := p.observed(ctx, t.o.n, 0); err != nil {
		return err
	}
	l, err := p.looks(ctx)
	if err != nil {
		return err
	}
	from, err := t.cluster.Audit().Mark(ctx)
	if err != nil {
		return err
	}
	if err := p.observed(ctx, t.o.n, l.Succeeded); err != nil {
		return err
	}
	counted, err := t.count(ctx, from)
	if err != nil {
		return err
	}
	t.figures.SteadyWrites, t.figures.SteadyReads = counted.writes, counted.reads
	for _, request := range counted.steady {
		logf("in a resync: %s %s %s", request.Verb, request.Resource, request.Name)
	}
	return errors.Join(p.terminate(), p.ended())
}

type counts struct {
	writes, reads, objects int
	// by counts the writes, as "verb resource", and read the reads.
	by, read map[string]int
	steady   []devcluster.Request
}

// count counts Windlass' requests since a mark, by the API server's log. The
// lease, which is read and renewed every 2 s whatever the fleet, and the check
// of who asks for the metrics, are left out; no-op writes count.
func (t *trial) count(ctx context.Context, from devcluster.Mark) (counts, error) {
	c := counts{by: map[string]int{}, read: map[string]int{}}
	to, err := t.cluster.Audit().Mark(ctx)
	if err != nil {
		return c, err
	}
	requests, err := t.cluster.Audit().Since(from, to, install.Identity)
	if err != nil {
		return c, err
	}
	applied := map[string]bool{
		"services": true, "serviceaccounts": true, "roles": true, "rolebindings": true, "ingresses": true, "deployments": true, "poddisruptionbudgets": true,
		"persistentvolumeclaims": true, "secrets": true, "mysqlclusters": true, "clusters": true, "minioinstances": true, "httproutes": true,
	}
	for _, request := range requests {
		switch request.Resource {
		case "leases", "tokenreviews", "subjectaccessreviews":
			continue
		}
		if !request.Write() {
			c.reads++
			c.read[request.Verb+" "+request.Resource]++
		} else {
			c.writes++
			c.by[request.Verb+" "+request.Resource]++
			if applied[request.Resource] {
				c.objects++
			}
		}
		if len(c.steady) < 20 {
			c.steady = append(c.steady, request)
		}
	}
	return c, nil
}
