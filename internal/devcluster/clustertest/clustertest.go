// Package clustertest gives tests a real Kubernetes API: one development cluster
// for all tests of a package, and a namespace for each.
package clustertest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/agent"
	"windlass.dev/internal/devcluster/standin"
)

// KubeconfigVariable names a kubeconfig of a cluster to test against instead of
// starting one. It has to be a cluster that nobody needs.
const KubeconfigVariable = "WINDLASS_TEST_KUBECONFIG"

var shared struct {
	cluster *devcluster.Cluster
	config  *rest.Config
}

// Main starts the cluster, runs the tests and stops it. Call it from TestMain.
// prepare, if not nil, is called once with the cluster's configuration. The test's
// program also is the stand-ins that process nodes run.
func Main(m *testing.M, prepare func(context.Context, *rest.Config) error, change ...func(*devcluster.Options)) {
	if len(os.Args) > 3 && os.Args[1] == "dev" && os.Args[2] == "stand-in" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		code := standin.Main(ctx, os.Args[3], os.Args[4:], os.Stdout, os.Getenv)
		stop()
		os.Exit(code)
	}
	flag.Parse()
	os.Exit(run(m, prepare, change))
}

func run(m *testing.M, prepare func(context.Context, *rest.Config) error, change []func(*devcluster.Options)) int {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	stop, err := start(ctx, change)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test cluster:", err)
		return 1
	}
	if prepare != nil {
		err = prepare(ctx, Shared())
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the test cluster:", err)
	} else {
		code = m.Run()
	}
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the test cluster:", err)
		return 1
	}
	return code
}

func start(ctx context.Context, change []func(*devcluster.Options)) (stop func() error, err error) {
	if path := os.Getenv(KubeconfigVariable); path != "" {
		shared.config, err = clientcmd.BuildConfigFromFlags("", path)
		return func() error { return nil }, err
	}
	dir, err := os.MkdirTemp("", "windlass-test-")
	if err != nil {
		return nil, err
	}
	options := devcluster.Options{Dir: dir, Nodes: 2, Ephemeral: true}
	for _, do := range change {
		do(&options)
	}
	shared.cluster, err = devcluster.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	shared.config = shared.cluster.Config()
	return func() error { return shared.cluster.Stop(context.Background()) }, nil
}

// Shared returns an administrator's configuration of the cluster.
func Shared() *rest.Config { return rest.CopyConfig(shared.config) }

// Gateway is the address that routes requests to pods on process nodes.
func Gateway(tb testing.TB) string {
	tb.Helper()
	if shared.cluster == nil || shared.cluster.Gateway() == "" {
		tb.Skip("the cluster has no process nodes")
	}
	return shared.cluster.Gateway()
}

// AWS is the address of the fake AWS, whose instances are nodes of the cluster.
func AWS(tb testing.TB) string {
	tb.Helper()
	if shared.cluster == nil || shared.cluster.AWS() == "" {
		tb.Skip("the cluster has no fake AWS")
	}
	return shared.cluster.AWS()
}

// Agent runs the process nodes. The test is skipped on a given cluster, whose agent is in
// another program.
func Agent(tb testing.TB) *agent.Agent {
	tb.Helper()
	if shared.cluster == nil || shared.cluster.Agent() == nil {
		tb.Skip("there is no agent here")
	}
	return shared.cluster.Agent()
}

// Config returns a configuration as a user: by a certificate on our own cluster,
// by impersonation on a given one.
func Config(tb testing.TB, user string) *rest.Config {
	tb.Helper()
	if shared.cluster == nil {
		config := Shared()
		config.Impersonate.UserName = user
		return config
	}
	config, err := shared.cluster.ConfigFor(user)
	if err != nil {
		tb.Fatalf("configuration of %s: %v", user, err)
	}
	return config
}

// Audit returns the cluster's request log. The test is skipped on a given
// cluster, whose log we cannot read.
func Audit(tb testing.TB) *devcluster.Audit {
	tb.Helper()
	if shared.cluster == nil {
		tb.Skipf("%s is set: the requests of that cluster cannot be counted", KubeconfigVariable)
	}
	return shared.cluster.Audit()
}

var unfit = regexp.MustCompile("[^a-z0-9]+")

// Namespace makes a namespace for the test, with its name in it, and removes it
// when the test is over.
func Namespace(tb testing.TB) string {
	tb.Helper()
	client, err := kubernetes.NewForConfig(Shared())
	if err != nil {
		tb.Fatal(err)
	}
	prefix := strings.Trim(unfit.ReplaceAllString(strings.ToLower(tb.Name()), "-"), "-")
	prefix = strings.Trim(prefix[:min(len(prefix), 40)], "-") + "-"
	namespace, err := client.CoreV1().Namespaces().Create(tb.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix}}, metav1.CreateOptions{})
	if err != nil {
		tb.Fatalf("make a namespace: %v", err)
	}
	tb.Cleanup(func() {
		// The test's own context has ended by now.
		ctx := context.WithoutCancel(tb.Context())
		if err := client.CoreV1().Namespaces().Delete(ctx, namespace.Name, metav1.DeleteOptions{}); err != nil {
			tb.Logf("remove namespace %s: %v", namespace.Name, err)
		}
	})
	return namespace.Name
}

// Kubeconfig returns the path of an administrator's kubeconfig.
func Kubeconfig() string {
	if shared.cluster == nil {
		return os.Getenv(KubeconfigVariable)
	}
	return shared.cluster.Kubeconfig()
}
