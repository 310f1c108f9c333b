// Package rotation tests that nodes are replaced: by the controller as it ships, in a
// process of its own that can be killed, on the real API server, with machines of the fake
// AWS through the real SDK, while people use what runs on them. Its tests measure, so that
// they run one after the other, beside no other package, and without the race detector:
// see the Makefile.
package rotation

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"windlass.dev/internal/cli"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/agent"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
	"windlass.dev/test/windlasstest"
)

// asWindlass makes the test's own program the controller.
const asWindlass = "WINDLASS_TEST_AS_WINDLASS"

// speed is how many times faster than life the fake AWS is: an instance boots in 3 s.
const speed = 20

func TestMain(m *testing.M) {
	if os.Getenv(asWindlass) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		code := cli.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	}
	windlasstest.Main(m, nil, func(o *devcluster.Options) {
		o.Nodes, o.ProcessNodes, o.FakeAWS, o.FakeAWSSpeed, o.FakeAWSNodes = 0, 0, true, speed, agent.Process
	})
}

// deadline bounds each wait that is not for a rotation, and rotationDeadline those that are.
const (
	deadline         = 90 * time.Second
	rotationDeadline = 8 * time.Minute
)

func waitFor(t testing.TB, limit time.Duration, awaited string, done func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, limit, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		t.Fatalf("waiting for %s: %v", awaited, err)
	}
}

// windlass is the controller in a process of its own.
type windlass struct {
	dir string
	cmd *exec.Cmd
	log bytes.Buffer
}

// newWindlass prepares a controller with the permissions that it ships with, and leases
// that are short, so that another one takes over soon.
func newWindlass(t testing.TB) *windlass {
	t.Helper()
	w := &windlass{dir: t.TempDir()}
	config := clustertest.Config(t, install.Identity)
	kubeconfig := clientcmdapi.Config{
		CurrentContext: "test", Contexts: map[string]*clientcmdapi.Context{"test": {Cluster: "test", AuthInfo: "test"}},
		Clusters:  map[string]*clientcmdapi.Cluster{"test": {Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"test": {ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, ClientCertificate: config.CertFile, ClientKey: config.KeyFile}},
	}
	if err := clientcmd.WriteToFile(kubeconfig, filepath.Join(w.dir, "kubeconfig")); err != nil {
		t.Fatal(err)
	}
	content := `apiVersion: config.windlass.dev/v1alpha1
kind: Configuration
metrics: {address: "0"}
health: {address: "0"}
leases: {duration: 3s, renewDeadline: 2s, retryPeriod: 500ms}
log: {format: text}
`
	if err := os.WriteFile(filepath.Join(w.dir, "windlass.yaml"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.kill()
		if t.Failed() {
			t.Logf("the controller said, at the end:\n%s", tail(w.log.String(), 6000))
		}
	})
	return w
}

func tail(text string, limit int) string { return text[max(len(text)-limit, 0):] }

func (w *windlass) start(t testing.TB) {
	t.Helper()
	w.cmd = exec.Command(os.Args[0], "run", "--kubeconfig", filepath.Join(w.dir, "kubeconfig"), "--config", filepath.Join(w.dir, "windlass.yaml"))
	w.cmd.Env = append(os.Environ(), asWindlass+"=true", "AWS_ENDPOINT_URL="+clustertest.AWS(t), "AWS_ACCESS_KEY_ID=fake", "AWS_SECRET_ACCESS_KEY=fake", "AWS_REGION="+devcluster.CloudRegion)
	w.cmd.Stdout, w.cmd.Stderr = &w.log, &w.log
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill ends it as a crash does, and returns when it is gone.
func (w *windlass) kill() {
	if w.cmd == nil || w.cmd.ProcessState != nil {
		return
	}
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait() // It says that it was killed.
}

// ask runs a command of the development cluster.
func ask(t testing.TB, arguments ...string) {
	t.Helper()
	var out bytes.Buffer
	if code := cli.Main(t.Context(), append(arguments, "--dir", filepath.Dir(clustertest.Kubeconfig())), &out, &out); code != 0 {
		t.Fatalf("windlass %v exits with %d: %s", arguments, code, out.String())
	}
}

var number int

// unique is a name that no other test has.
func unique(prefix string) string {
	number++
	return fmt.Sprintf("%s-%d", prefix, number)
}
