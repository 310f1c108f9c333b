// Package oldest runs Windlass on the oldest Kubernetes that it supports.
package oldest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// version is the oldest that the newest control plane can behave as.
const version = "1.34"

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// TestOldestKubernetes installs Windlass with its shipped permissions, and has it make
// and upgrade installations that use what is newest in Kubernetes.
func TestOldestKubernetes(t *testing.T) {
	t.Parallel()
	cluster, err := devcluster.Start(t.Context(), devcluster.Options{Dir: t.TempDir(), Nodes: 2, Version: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	says, err := kubernetes.NewForConfigOrDie(cluster.Config()).Discovery().ServerVersion()
	if err != nil || says.EmulationMajor+"."+says.EmulationMinor != version {
		t.Fatalf("the API server behaves as %+v, %v", says, err)
	}
	c, err := windlasstest.NewClient(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	// First without its Deployment: at the first ReplicaSet that it sees, the API server
	// takes down which kinds there are, and looks again 30 s later.
	apply(t, c, install.Options{WithoutDeployment: true})
	if err := devcluster.MakeGateway(t.Context(), cluster.Config(), "default", "public"); err != nil {
		t.Fatal(err)
	}
	run(t, cluster)
	for name, change := range map[string]func(*v1beta1.Mattermost){
		"standard": func(*v1beta1.Mattermost) {},
		"strict": func(mm *v1beta1.Mattermost) {
			mm.Annotations = map[string]string{v1beta1.ShapeAnnotation: string(v1beta1.ShapeStrict)}
		},
		"managed": func(mm *v1beta1.Mattermost) {
			mm.Spec.Database = v1beta1.Database{OperatorManaged: &v1beta1.OperatorManagedDatabase{Type: "postgres"}}
			mm.Spec.FileStore = v1beta1.FileStore{Local: &v1beta1.LocalFileStore{Enabled: true}}
			mm.Spec.HTTPRoute = &v1beta1.HTTPRoute{Enabled: true, Host: "route.example.com", GatewayRef: &v1beta1.GatewayReference{Name: "public"}}
		},
	} {
		mm := installation(name)
		change(mm)
		if err := c.Create(t.Context(), mm); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
		stable(t, c, mm)
		before := mm.DeepCopy()
		mm.Spec.Version = "10.6.0"
		if err := c.Patch(t.Context(), mm, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		stable(t, c, mm)
	}
	apply(t, c, install.Options{Image: "example.com/windlass:v1", Replicas: 1})
}

func apply(t *testing.T, c client.Client, options install.Options) {
	t.Helper()
	objects, err := install.Objects(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := install.Apply(t.Context(), c, objects, nil); err != nil {
		t.Fatal(err)
	}
}

func installation(name string) *v1beta1.Mattermost {
	return &v1beta1.Mattermost{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: v1beta1.MattermostSpec{
			Version: "10.5.2", Ingress: &v1beta1.Ingress{Enabled: true, Host: name + ".example.com"},
			Database:  v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "database"}},
			FileStore: v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: name, Secret: "files"}},
		},
	}
}

// run starts Windlass with the permissions that it ships with.
func run(t *testing.T, cluster *devcluster.Cluster) {
	t.Helper()
	rest, err := cluster.ConfigFor(install.Identity)
	if err != nil {
		t.Fatal(err)
	}
	windlasstest.Run(t, config.Default(), rest, manager.Hooks{})
	c, err := client.New(cluster.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]map[string]string{
		"database": {"DB_CONNECTION_STRING": "postgres://example:example@db.example.com/mm"},
		"files":    {"accesskey": "example", "secretkey": "example"},
	} {
		if err := c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, StringData: data}); err != nil {
			t.Fatal(err)
		}
	}
}

func stable(t *testing.T, c client.Client, mm *v1beta1.Mattermost) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 90*time.Second, true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(mm), mm)
		return mm.Status.State == v1beta1.Stable && mm.Status.ObservedGeneration == mm.Generation, err
	})
	if err != nil {
		t.Fatalf("%s does not become stable: %v; its status is %+v", mm.Name, err, mm.Status)
	}
}
