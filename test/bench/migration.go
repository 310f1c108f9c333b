package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/installation"
)

// migrationFigures are what it takes to make Mattermosts of a fleet of ClusterInstallations.
type migrationFigures struct {
	Benchmark string `json:"benchmark"`
	N         int    `json:"n"`
	Recreate  bool   `json:"recreate,omitempty"`
	// Seconds is from the first spec.migrate until the last Mattermost is stable and its
	// ClusterInstallation gone, and its pods are others, if they are to be; FloorSeconds is
	// what a client takes that makes the same writes, as many at a time, and decides nothing.
	// With other pods it begins all at once, and waits for nothing but that all are
	// available, and then as long as a former pod is to be out of its Service.
	Seconds      float64 `json:"seconds"`
	FloorSeconds float64 `json:"floor_seconds"`
	PerSecond    float64 `json:"per_second"`
	Ratio        float64 `json:"ratio"`
	// PeakExtraPods is how many pods there were at most beyond those before, and
	// PodRestarts how many are others than before, or were restarted.
	PeakExtraPods         int     `json:"peak_extra_pods"`
	PodRestarts           int     `json:"pod_restarts"`
	WritesPerInstallation float64 `json:"writes_per_installation"`
	// APICalls are all of Windlass' requests.
	APICalls int     `json:"api_calls"`
	RSSMiB   float64 `json:"rss_mib"`
	// CPUSeconds are Windlass' own.
	CPUSeconds float64 `json:"cpu_seconds"`
}

func migrations(ctx context.Context, arguments []string) (any, error) {
	o := options{concurrency: config.Default().Installations.Concurrency}
	f := migrationFigures{Benchmark: "migration"}
	flags := flag.NewFlagSet("migration", flag.ContinueOnError)
	flags.IntVar(&o.n, "n", 1000, "how many installations, a namespace each")
	flags.BoolVar(&f.Recreate, "recreate", false, "have the pods replaced, too")
	flags.StringVar(&o.windlass, "windlass", filepath.Join("bin", "windlass"), "the binary to measure")
	flags.StringVar(&o.pprof, "pprof", "", "a directory for CPU profiles of kube-apiserver and of Windlass, of the first 20 s")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if o.n < 1 {
		return nil, errors.New("-n has to be at least 1")
	}
	f.N = o.n
	var writes map[string]int
	err := onTrial(ctx, o, func(t *trial) (err error) {
		writes, err = f.migrate(ctx, t)
		return err
	})
	if err != nil {
		return f, err
	}
	if err := onTrial(ctx, o, func(t *trial) error { return f.floor(ctx, t, writes) }); err != nil {
		return f, err
	}
	f.PerSecond, f.Ratio = float64(f.N)/f.Seconds, f.Seconds/f.FloorSeconds
	return f, nil
}

// older makes the fleet as ClusterInstallations, and waits until they are stable.
func (t *trial) older(ctx context.Context) (*process, error) {
	p, err := t.start(ctx, patient)
	if err != nil {
		return nil, err
	}
	err = errors.Join(p.observed(ctx, 0, 0), t.fleet.each(ctx, func(ctx context.Context, namespace string) error {
		return t.fleet.client.Create(ctx, clusterInstallation(namespace))
	}))
	if err == nil {
		err = t.fleet.until(ctx, v1alpha1.GroupVersion.WithKind("ClusterInstallation"), stable)
	}
	if err != nil {
		return p, fmt.Errorf("%w\n%s", err, tail(p.stderr.String()))
	}
	logf("%d ClusterInstallations are stable", t.o.n)
	return p, nil
}

func clusterInstallation(namespace string) *v1alpha1.ClusterInstallation {
	return &v1alpha1.ClusterInstallation{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.ClusterInstallationSpec{
			Version: "10.5.2", Replicas: pods, IngressName: namespace + ".example.com",
			Database: v1alpha1.Database{Secret: "db"},
			Minio:    v1alpha1.Minio{ExternalURL: "s3.example.com", ExternalBucket: namespace, Secret: "fs"},
		},
	}
}

func (f *migrationFigures) migrate(ctx context.Context, t *trial) (writes map[string]int, err error) {
	p, err := t.older(ctx)
	if p != nil {
		defer func() { _ = p.terminate() }() // It has ended already unless something failed.
	}
	if err != nil {
		return nil, err
	}
	before, err := t.fleet.podsOf(ctx)
	if err != nil {
		return nil, err
	}
	from, err := t.cluster.Audit().Mark(ctx)
	if err != nil {
		return nil, err
	}
	spent, err := p.cpu()
	if err != nil {
		return nil, err
	}
	peak, err := t.fleet.peak(ctx)
	if err != nil {
		return nil, err
	}
	err = profile(t.cluster, "windlass", func() error {
		start := time.Now()
		if err := t.fleet.ask(ctx, f.Recreate); err != nil {
			return err
		}
		profiled := t.pprof(ctx, p)
		err := errors.Join(t.fleet.until(ctx, v1beta1.GroupVersion.WithKind("Mattermost"), migrated(f.Recreate)), t.fleet.gone(ctx))
		f.Seconds = time.Since(start).Seconds()
		return errors.Join(err, profiled())
	})
	most, counting := peak()
	f.PeakExtraPods = most - len(before)
	if err := errors.Join(err, counting); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(p.stderr.String()))
	}
	if err := p.observed(ctx, 0, 0); err != nil {
		return nil, err
	}
	after, err := t.fleet.podsOf(ctx)
	if err != nil {
		return nil, err
	}
	f.PodRestarts = changedPods(before, after)
	f.CPUSeconds = -spent
	counted, err := f.cost(ctx, t, p, from)
	if err != nil {
		return nil, err
	}
	return counted, errors.Join(p.terminate(), p.ended())
}

// cost adds what Windlass has used and asked for since a mark, and returns its writes.
func (f *migrationFigures) cost(ctx context.Context, t *trial, p *process, from devcluster.Mark) (writes map[string]int, err error) {
	spent, err := p.cpu()
	if err != nil {
		return nil, err
	}
	f.CPUSeconds += spent
	counted, err := t.count(ctx, from)
	if err != nil {
		return nil, err
	}
	for _, requests := range []map[string]int{counted.by, counted.read} {
		for _, request := range slices.Sorted(maps.Keys(requests)) {
			logf("%6.2f %s", float64(requests[request])/float64(t.o.n), request)
		}
	}
	f.WritesPerInstallation, f.APICalls = float64(counted.writes)/float64(t.o.n), counted.writes+counted.reads
	f.RSSMiB, err = p.peakMemory()
	return counted.by, err
}

// pprof takes CPU profiles of the API server and of Windlass, if that was asked for.
func (t *trial) pprof(ctx context.Context, p *process) (wait func() error) {
	if t.o.pprof == "" {
		return func() error { return nil }
	}
	const path, seconds = "/debug/pprof/profile", "20"
	var group errgroup.Group
	group.Go(func() error {
		c, err := kubernetes.NewForConfig(t.cluster.Config())
		if err != nil {
			return err
		}
		profile, err := c.CoreV1().RESTClient().Get().AbsPath(path).Param("seconds", seconds).DoRaw(ctx)
		return errors.Join(err, os.WriteFile(filepath.Join(t.o.pprof, "kube-apiserver.pprof"), profile, 0o600))
	})
	group.Go(func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.pprof+path+"?seconds="+seconds, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		profile, err := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusOK {
			err = errors.Join(err, fmt.Errorf("profile of Windlass: %s", response.Status))
		}
		return errors.Join(err, response.Body.Close(), os.WriteFile(filepath.Join(t.o.pprof, "windlass.pprof"), profile, 0o600))
	})
	return group.Wait
}

// changedPods is how many pods are others than before, or were restarted.
func changedPods(before, after map[types.UID]int32) int {
	n := 0
	for uid, restarts := range after {
		if was, same := before[uid]; !same || was != restarts {
			n++
		}
	}
	return n
}

// ask has every ClusterInstallation migrated.
func (f *fleet) ask(ctx context.Context, recreate bool) error {
	patch := `{"spec":{"migrate":true}}`
	if recreate {
		patch = fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}},"spec":{"migrate":true}}`, v1beta1.MigrationModeAnnotation, v1beta1.MigrationRecreate)
	}
	return f.each(ctx, func(ctx context.Context, namespace string) error {
		ci := &v1alpha1.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		return f.client.Patch(ctx, ci, client.RawPatch(types.MergePatchType, []byte(patch)))
	})
}

// migrated is that a Mattermost has everything, and is stable.
func migrated(recreate bool) func(*unstructured.Unstructured) bool {
	return func(object *unstructured.Unstructured) bool {
		held, _, _ := unstructured.NestedBool(object.Object, "status", "migratedFrom", "held")
		_, begun, _ := unstructured.NestedMap(object.Object, "status", "migratedFrom")
		lineage, _, _ := unstructured.NestedString(object.Object, "status", "lineage")
		_, renewing, _ := unstructured.NestedMap(object.Object, "status", "renewal")
		return stable(object) && begun && !held && (!recreate || lineage == "" && !renewing)
	}
}

// gone waits until there are no ClusterInstallations any more.
func (f *fleet) gone(ctx context.Context) error {
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 30*time.Minute, true, func(ctx context.Context) (bool, error) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ClusterInstallationList"))
		err := f.client.List(ctx, list, client.Limit(1))
		return len(list.Items) == 0, err
	})
}

// peak counts the fleet's pods, until the returned function is called, which says how many
// there were at most.
func (f *fleet) peak(ctx context.Context) (most func() (int, error), err error) {
	ctx, cancel := context.WithCancel(ctx)
	lists := func() *metav1.PartialObjectMetadataList {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
		return list
	}
	only := client.MatchingLabels{"app": "mattermost"}
	before := lists()
	if err := f.client.List(ctx, before, only); err != nil {
		cancel()
		return nil, err
	}
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, before.GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return f.client.Watch(ctx, lists(), only, &client.ListOptions{Raw: &options})
		},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	type result struct {
		most int
		err  error
	}
	results := make(chan result, 1)
	go func() {
		now := len(before.Items)
		r := result{most: now}
		for event := range watcher.ResultChan() {
			switch event.Type {
			case watch.Added:
				now++
			case watch.Deleted:
				now--
			case watch.Error:
				r.err = apierrors.FromObject(event.Object)
			default:
			}
			r.most = max(r.most, now)
		}
		results <- r
	}()
	return func() (int, error) {
		cancel()
		r := <-results
		return r.most, r.err
	}, nil
}

// floor makes the writes that Windlass made for each installation, and no others.
func (f *migrationFigures) floor(ctx context.Context, t *trial, writes map[string]int) error {
	p, err := t.older(ctx)
	if p != nil {
		defer func() { _ = p.terminate() }()
	}
	if err != nil {
		return err
	}
	if err := errors.Join(p.terminate(), p.ended()); err != nil {
		return err
	}
	each := func(request string) int { return (writes[request] + t.o.n/2) / t.o.n }
	return profile(t.cluster, "floor", func() error {
		start := time.Now()
		err := t.fleet.each(ctx, func(ctx context.Context, namespace string) error { return t.fleet.handOver(ctx, namespace, each) })
		if err == nil {
			err = t.fleet.gone(ctx)
		}
		if err == nil && f.Recreate {
			err = t.fleet.renew(ctx)
		}
		f.FloorSeconds = time.Since(start).Seconds()
		return err
	})
}

// handOver makes a Mattermost of one ClusterInstallation, as a client that knows everything.
func (f *fleet) handOver(ctx context.Context, namespace string, each func(string) int) error {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	var ci v1alpha1.ClusterInstallation
	if err := f.client.Get(ctx, key, &ci); err != nil {
		return err
	}
	mm := mattermost(namespace)
	if err := f.client.Create(ctx, mm); err != nil {
		return err
	}
	if err := f.say(ctx, &ci, each("patch clusterinstallations/status")); err != nil {
		return err
	}
	mm.Status.Lineage = v1beta1.LineageV1alpha1
	r, err := installation.Render(installation.Default(mm), facts(namespace), installation.RenderOptions{Shape: v1beta1.ShapeStrict})
	if err != nil {
		return err
	}
	for _, object := range r.Objects {
		if err := f.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(installation.Manager), client.ForceOwnership); err != nil {
			return err
		}
	}
	if err := f.say(ctx, mm, each("patch mattermosts/status")); err != nil {
		return err
	}
	for range each("create events") {
		if err := f.client.Create(ctx, event(namespace)); err != nil {
			return err
		}
	}
	return f.client.Delete(ctx, &ci, client.PropagationPolicy(metav1.DeletePropagationOrphan))
}

// drain is how long a former pod is out of its Service before it is told to stop.
const drain = 15 * time.Second

// renew has new Deployments start pods beside the former ones, which then go.
func (f *fleet) renew(ctx context.Context) error {
	err := f.each(ctx, func(ctx context.Context, namespace string) error {
		mm := &v1beta1.Mattermost{}
		if err := f.client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, mm); err != nil {
			return err
		}
		mm.Status = v1beta1.MattermostStatus{} // As of one that never was anything else.
		r, err := installation.Render(installation.Default(mm), facts(namespace), installation.RenderOptions{Shape: v1beta1.ShapeStrict})
		if err != nil {
			return err
		}
		former := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		if err := f.client.Delete(ctx, former, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
			return err
		}
		err = wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			err := f.client.Get(ctx, client.ObjectKeyFromObject(former), former)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})
		for _, object := range r.Objects {
			if err == nil && (object.GetKind() == "Deployment" || object.GetKind() == "Service") {
				err = f.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(installation.Manager), client.ForceOwnership)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := f.until(ctx, appsv1.SchemeGroupVersion.WithKind("Deployment"), available); err != nil {
		return err
	}
	select {
	case <-time.After(drain): // Which is part of what is measured.
	case <-ctx.Done():
		return ctx.Err()
	}
	return f.each(ctx, func(ctx context.Context, namespace string) error {
		older := client.MatchingLabels{"v1alpha1.mattermost.com/installation": name}
		return f.client.DeleteAllOf(ctx, &appsv1.ReplicaSet{}, client.InNamespace(namespace), older, client.PropagationPolicy(metav1.DeletePropagationBackground))
	})
}

// say writes the status as often, each time with something else in it.
func (f *fleet) say(ctx context.Context, object client.Object, times int) error {
	for i := range times {
		patch := fmt.Sprintf(`{"status":{"error":"%d"}}`, i)
		if err := f.client.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			return err
		}
	}
	return nil
}

func event(namespace string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "floor-"}, EventTime: metav1.NowMicro(),
		ReportingController: "floor", ReportingInstance: "floor", Action: "Floor", Reason: "Floor", Type: corev1.EventTypeNormal,
		Regarding: corev1.ObjectReference{Namespace: namespace, Name: name, Kind: "Mattermost"},
	}
}
