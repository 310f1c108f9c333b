// Package manager is the composition root: configuration in, running
// controllers out. It is the only package that knows all controllers.
package manager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	rolloutapi "windlass.dev/api/fleet/v1alpha1"
	older "windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/aws"
	"windlass.dev/internal/config"
	fleet "windlass.dev/internal/fleetrotation/controller"
	installations "windlass.dev/internal/installation/controller"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/lead"
	nodegroups "windlass.dev/internal/nodegroup/controller"
	nodeimages "windlass.dev/internal/nodeimage/controller"
	restores "windlass.dev/internal/restore/controller"
	rollouts "windlass.dev/internal/rollout/controller"
	rotations "windlass.dev/internal/rotation/controller"
)

// shutdownTimeout bounds a graceful stop; Kubernetes' default grace period for
// a pod is 30 s.
const shutdownTimeout = 20 * time.Second

// Hooks let tests and the demo look inside, make faults and put other things in place. All are optional.
type Hooks struct {
	// WrapClient wraps the client that everything is written with.
	WrapClient func(client.WithWatch) client.WithWatch
	// WrapReader wraps the cache that everything is read from, but for the installations that
	// roll-outs look at, of which there may be thousands.
	WrapReader func(client.Reader) client.Reader
	// Registry receives the metrics instead of the process-wide registry.
	Registry interface {
		prometheus.Registerer
		prometheus.Gatherer
	}
	Clock clock.PassiveClock
	// Providers keeps the machines of node groups; nil for those of this package.
	Providers cloud.Providers
	// AWS is used instead of the one that the environment says.
	AWS *aws.Cloud
	// Images finds machine images; nil for that of this package.
	Images cloud.Images
	// Started is called when all caches are filled.
	Started func()
	// Elected is called when a lease was won, which it is given, and before anything acts
	// under it. There is one for each group of controllers.
	Elected func(config.Lease)
}

// Scheme returns a scheme with every kind that Windlass reads or writes.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme), older.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), rolloutapi.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	return scheme, nil
}

// Run runs the configured controllers until ctx ends or a lease is lost.
func Run(ctx context.Context, cfg config.Configuration, rest *rest.Config, hooks Hooks) error {
	mgr, err := newManager(ctx, cfg, rest, hooks)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func newManager(ctx context.Context, cfg config.Configuration, restConfig *rest.Config, hooks Hooks) (ctrlmanager.Manager, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	restConfig = rest.CopyConfig(restConfig)
	restConfig.QPS, restConfig.Burst = cfg.Client.QPS, cfg.Client.Burst
	restConfig.UserAgent = "windlass"
	mgr, err := ctrl.NewManager(restConfig, ctrlmanager.Options{
		Scheme:  scheme,
		Logger:  ctrl.LoggerFrom(ctx),
		Metrics: metricsOptions(cfg.Metrics),
		Cache:   cacheOptions(cfg),
		NewCache: func(config *rest.Config, options cache.Options) (cache.Cache, error) {
			c, err := cache.New(config, options)
			return interruptible{Cache: c, run: ctx}, err
		},
		// Each group of controllers holds its own lease; see kit/lead.
		LeaderElection:          false,
		HealthProbeBindAddress:  cfg.Health.Address,
		PprofBindAddress:        cfg.Pprof.Address,
		GracefulShutdownTimeout: new(shutdownTimeout),
	})
	if err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	writer, err := newWriter(restConfig, mgr, hooks)
	if err != nil {
		return nil, err
	}
	host := kit.Host{
		Cache:    mgr.GetCache(),
		Reader:   mgr.GetCache(),
		Client:   writer,
		Config:   restConfig,
		Mapper:   mgr.GetRESTMapper(),
		Announce: kit.Announcer{Recorder: mgr.GetEventRecorder("windlass")},
		Metrics:  kit.NewMetrics(registry(hooks)),
		Registry: registry(hooks),
		Clock:    clock.RealClock{},
		Logger:   mgr.GetLogger(),
	}
	if hooks.Clock != nil {
		host.Clock = hooks.Clock
	}
	if hooks.WrapReader != nil {
		host.Reader = hooks.WrapReader(host.Reader)
	}
	if err := addControllers(ctx, mgr, cfg, host, hooks); err != nil {
		return nil, err
	}
	return mgr, addHealth(ctx, mgr, hooks)
}

func registry(hooks Hooks) prometheus.Registerer {
	if hooks.Registry != nil {
		return hooks.Registry
	}
	return ctrlmetrics.Registry
}

// newWriter is a client that never reads from the cache by accident.
func newWriter(restConfig *rest.Config, mgr ctrlmanager.Manager, hooks Hooks) (client.Client, error) {
	writer, err := client.NewWithWatch(restConfig, client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if hooks.WrapClient != nil {
		writer = hooks.WrapClient(writer)
	}
	return writer, nil
}

func cacheOptions(cfg config.Configuration) cache.Options {
	options := cache.Options{
		SyncPeriod: &cfg.Resync.Duration,
		// A read of a kind that is not watched is a mistake, not a reason to
		// start watching it.
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            installations.StripMetadata,
	}
	if !cfg.Installations.Disabled { // Their kinds have to be known to the cluster.
		options.ByObject = installations.CacheByObject(cfg.Namespace)
		maps.Copy(options.ByObject, restores.CacheByObject())
	}
	if len(cfg.Namespaces) > 0 {
		options.DefaultNamespaces = map[string]cache.Config{}
		for _, name := range cfg.Namespaces {
			options.DefaultNamespaces[name] = cache.Config{}
		}
	}
	return options
}

// interruptible is a cache whose wait ends, as if it had succeeded, when the run
// does. Without it, the manager of controller-runtime v0.25 spins for ever when it
// is stopped while a cache can't be filled, for instance for want of a permission.
type interruptible struct {
	cache.Cache
	run context.Context //nolint:containedctx // The manager calls with one that outlives the run.
}

func (c interruptible) WaitForCacheSync(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.run, cancel)() //nolint:contextcheck // Two contexts are joined.
	return c.Cache.WaitForCacheSync(ctx) || c.run.Err() != nil
}

func metricsOptions(cfg config.Metrics) metricsserver.Options {
	options := metricsserver.Options{BindAddress: cfg.Address}
	if !cfg.Insecure {
		options.SecureServing = true
		options.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	return options
}

// addControllers puts every controller behind the lease that it acts under.
func addControllers(ctx context.Context, mgr ctrlmanager.Manager, cfg config.Configuration, host kit.Host, hooks Hooks) error {
	if !cfg.Installations.Disabled {
		runnables, err := installationControllers(ctx, cfg, host)
		if err != nil {
			return fmt.Errorf("installations controller: %w", err)
		}
		if err := addLed(mgr, cfg, cfg.Installations.Lease, hooks, runnables...); err != nil {
			return err
		}
	}
	if len(cfg.Namespaces) > 0 {
		return nil // Nodes and fleets are of no namespace.
	}
	if err := addRotations(ctx, mgr, cfg, host, hooks); err != nil {
		return fmt.Errorf("rotations controller: %w", err)
	}
	if err := addFleet(mgr, cfg, host, hooks); err != nil {
		return fmt.Errorf("fleet controller: %w", err)
	}
	if err := addRollouts(ctx, mgr, cfg, host, hooks); err != nil {
		return fmt.Errorf("rollouts controller: %w", err)
	}
	return nil
}

// installationControllers are those of the newer API, of the older one, and of its restores.
// They act under one lease, which is that of the Mattermost Operator, who runs all too. That
// an installation stands still while it is restored is not switched off with the restores.
func installationControllers(ctx context.Context, cfg config.Configuration, host kit.Host) ([]ctrlmanager.Runnable, error) {
	options := installations.Options{
		Concurrency: cfg.Installations.Concurrency, NewShape: v1beta1.Shape(cfg.Installations.Shape), Namespace: cfg.Namespace,
	}
	newer, err := installations.New(ctx, host, options)
	if err != nil || !served(host, installations.ClusterInstallations) {
		return []ctrlmanager.Runnable{newer}, err
	}
	options.Restores = served(host, restores.Restores)
	legacy, err := installations.NewClusterInstallations(ctx, host, options)
	if err != nil || !options.Restores || cfg.Restores.Disabled {
		return []ctrlmanager.Runnable{newer, legacy}, err
	}
	restoring, err := restores.New(ctx, host)
	return []ctrlmanager.Runnable{newer, legacy, restoring}, err
}

func addRotations(ctx context.Context, mgr ctrlmanager.Manager, cfg config.Configuration, host kit.Host, hooks Hooks) error {
	if cfg.Rotations.Disabled || !served(host, kit.Kind{GroupVersionKind: v1alpha1.GroupVersion.WithKind("NodeRotation")}) {
		return nil
	}
	runnables, err := nodeControllers(ctx, cfg, host, hooks)
	if err != nil {
		return err
	}
	return addLed(mgr, cfg, cfg.Rotations.Lease, hooks, runnables...)
}

// nodeControllers are those of nodes. They act under one lease: which nodes are outdated,
// and that they are replaced, is for one process to say.
func nodeControllers(ctx context.Context, cfg config.Configuration, host kit.Host, hooks Hooks) ([]ctrlmanager.Runnable, error) {
	providers, found, err := hooks.clouds(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("rotations controller: %w", err)
	}
	runs, err := rotations.New(ctx, host, rotations.Options{Providers: providers, Namespace: cfg.Namespace})
	if err != nil {
		return nil, fmt.Errorf("rotations controller: %w", err)
	}
	groups, err := nodegroups.New(ctx, host, nodegroups.Options{Providers: providers})
	if err != nil {
		return nil, fmt.Errorf("node groups controller: %w", err)
	}
	images, err := nodeimages.New(ctx, host, nodeimages.Options{Images: found})
	if err != nil {
		return nil, fmt.Errorf("node images controller: %w", err)
	}
	return []ctrlmanager.Runnable{runs, groups, images}, nil
}

func addFleet(mgr ctrlmanager.Manager, cfg config.Configuration, host kit.Host, hooks Hooks) error {
	if cfg.Fleet.Disabled || !served(host, fleet.FleetRotations) {
		return nil
	}
	runnable, err := fleet.New(host, fleet.Options{Namespace: cfg.Namespace})
	if err != nil {
		return err
	}
	return addLed(mgr, cfg, cfg.Fleet.Lease, hooks, runnable)
}

func addRollouts(ctx context.Context, mgr ctrlmanager.Manager, cfg config.Configuration, host kit.Host, hooks Hooks) error {
	if cfg.Rollouts.Disabled || !served(host, rollouts.InstallationRollouts) || !served(host, rollouts.Mattermosts) {
		return nil
	}
	runnable, err := rollouts.New(ctx, host, served(host, rollouts.ClusterInstallations))
	if err != nil {
		return err
	}
	return addLed(mgr, cfg, cfg.Rollouts.Lease, hooks, runnable)
}

// served reports whether the cluster knows a kind. One that cannot be asked does not stop
// those controllers that need no such kind.
func served(host kit.Host, kind kit.Kind) bool {
	known, err := kit.Served(host.Mapper, kind)
	switch {
	case err != nil:
		host.Logger.Error(err, "Controller is switched off", "kind", kind.Kind)
	case !known:
		host.Logger.Info("Controller is switched off", "kind", kind.Kind, "reason", "the cluster does not know it: run windlass install")
	}
	return err == nil && known
}

// addLed runs runnables while the lease is held.
func addLed(mgr ctrlmanager.Manager, cfg config.Configuration, lease config.Lease, hooks Hooks, runnables ...ctrlmanager.Runnable) error {
	if cfg.Leases.Disabled {
		var problems []error
		for _, runnable := range runnables {
			problems = append(problems, mgr.Add(always{runnable}))
		}
		return errors.Join(problems...)
	}
	identity, err := identity()
	if err != nil {
		return err
	}
	return mgr.Add(&lead.Group{
		Lease:    types.NamespacedName(lease),
		Identity: identity,
		Config:   mgr.GetConfig(),
		Timing: lead.Timing{
			Duration:      cfg.Leases.Duration.Duration,
			RenewDeadline: cfg.Leases.RenewDeadline.Duration,
			RetryPeriod:   cfg.Leases.RetryPeriod.Duration,
		},
		Runnables: runnables,
		Elected: func() {
			if hooks.Elected != nil {
				hooks.Elected(lease)
			}
		},
	})
}

// always runs a runnable whoever leads.
type always struct{ ctrlmanager.Runnable }

func (always) NeedLeaderElection() bool { return false }

func identity() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("identity for leases: %w", err)
	}
	return host + "_" + string(uuid.NewUUID()), nil
}

// addHealth answers /healthz as long as the process serves, and /readyz when
// its caches are filled, whether or not it leads: a stand-by is ready too.
func addHealth(run context.Context, mgr ctrlmanager.Manager, hooks Hooks) error {
	filled := make(chan struct{})
	err := mgr.Add(always{ctrlmanager.RunnableFunc(func(ctx context.Context) error {
		if mgr.GetCache().WaitForCacheSync(ctx) && run.Err() == nil {
			close(filled)
			if hooks.Started != nil {
				hooks.Started()
			}
		}
		<-ctx.Done()
		return nil
	})})
	return errors.Join(err,
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", func(*http.Request) error {
			select {
			case <-filled:
				return nil
			default:
				return errors.New("caches are being filled")
			}
		}))
}
