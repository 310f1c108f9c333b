// Package windlasstest has Windlass run in the clusters of tests, as it ships.
package windlasstest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
)

// Main runs the tests of a package on a cluster in which Windlass is installed. prepare, if
// not nil, does what else the cluster needs.
func Main(m *testing.M, prepare func(context.Context, *rest.Config) error, change ...func(*devcluster.Options)) {
	ctrl.SetLogger(logr.Discard())
	clustertest.Main(m, func(ctx context.Context, config *rest.Config) error {
		if err := Install(ctx, config); err != nil || prepare == nil {
			return err
		}
		return prepare(ctx, config)
	}, change...)
}

// Install installs the definitions and permissions. That comes before anything else is made:
// at the first ReplicaSet that it sees, the API server takes down which kinds there are, and
// looks again 30 s later.
func Install(ctx context.Context, config *rest.Config) error {
	objects, err := install.Objects(install.Options{WithoutDeployment: true})
	if err != nil {
		return err
	}
	c, err := NewClient(config)
	if err != nil {
		return err
	}
	return install.Apply(ctx, c, objects, nil)
}

// NewClient returns a client that knows every kind that Windlass does.
func NewClient(config *rest.Config) (client.WithWatch, error) {
	scheme, err := manager.Scheme()
	if err != nil {
		return nil, err
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// Client returns one of the administrator of the package's cluster.
func Client(t testing.TB) client.WithWatch {
	t.Helper()
	c, err := NewClient(clustertest.Shared())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Run runs Windlass, on no ports, until the test ends or stop is called. Nothing is tidied up
// at its end, as if it was killed. An error at its end fails the test.
func Run(t testing.TB, cfg config.Configuration, as *rest.Config, hooks manager.Hooks) (stop func()) {
	t.Helper()
	cfg.Metrics.Address, cfg.Health.Address = "0", "0"
	if hooks.Registry == nil {
		hooks.Registry = prometheus.NewRegistry()
	}
	ctx, cancel := context.WithCancel(ctrl.LoggerInto(context.WithoutCancel(t.Context()), logr.Discard()))
	ended := make(chan error, 1)
	go func() { ended <- manager.Run(ctx, cfg, as, hooks) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("windlass ended: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
