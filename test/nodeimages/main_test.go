// Package nodeimages tests, on the real API server and with the permissions that ship, that
// new machine images are found, approved and rolled out, and what the API refuses.
package nodeimages

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/aws"
	"windlass.dev/internal/cloud/sim"
	"windlass.dev/internal/config"
	devaws "windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/world"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

const (
	region = "eu-central-1"
	// deadline bounds each wait; a source is looked at every 10 s.
	deadline = 90 * time.Second
)

func TestMain(m *testing.M) { windlasstest.Main(m, nil) }

// fixture is Windlass with the images of a fake AWS and simulated machines.
type fixture struct {
	client.Client
	registry *prometheus.Registry
	aws      *world.World
	machines *sim.Provider
}

func start(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		Client: windlasstest.Client(t), registry: prometheus.NewRegistry(),
		aws:      world.New(world.Config{Region: region, Account: "123456789012", Zones: []string{"a"}, Times: world.Life()}, clock.RealClock{}),
		machines: sim.NewProvider(clock.RealClock{}, sim.Times{Boot: 100 * time.Millisecond, Shutdown: 100 * time.Millisecond, Retry: time.Second}),
	}
	server := httptest.NewServer(devaws.NewServer(f.aws, clock.RealClock{}, region))
	t.Cleanup(server.Close)
	for i := range 5 {
		f.image(t, fmt.Sprintf("ami-%d", i), time.Now().Add(-time.Hour))
	}
	cfg := config.Default()
	cfg.Installations.Disabled = true
	filled := make(chan struct{})
	hooks := manager.Hooks{
		Registry: f.registry, Started: func() { close(filled) },
		Providers: func(v1alpha1.Provider) (cloud.Provider, error) { return f.machines, nil },
		Images: aws.New(awssdk.Config{
			Region: region, BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
		}).Images(),
	}
	windlasstest.Run(t, cfg, clustertest.Config(t, install.Identity), hooks)
	select {
	case <-filled:
	case <-time.After(deadline):
		t.Fatal("Windlass is not ready")
	}
	return f
}

// image makes an image known to the fake AWS and to the simulated groups.
func (f *fixture) image(t *testing.T, id string, made time.Time) {
	t.Helper()
	err := errors.Join(
		f.aws.Write(func(s *world.State) error {
			return s.AddImage(world.Image{ImageId: id, Name: "node-" + id, CreationDate: made})
		}),
		f.machines.AddImage(v1alpha1.Image{ID: id, Architecture: "x86_64"}),
	)
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) parameter(t *testing.T, name, value string) {
	t.Helper()
	err := f.aws.Write(func(s *world.State) error {
		_, err := s.PutParameter(&world.PutParameterInput{Name: name, Value: value, Type: "String", Overwrite: true})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func waitFor(t *testing.T, awaited string, done func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, deadline, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		t.Fatalf("waiting for %s: %v", awaited, err)
	}
}
