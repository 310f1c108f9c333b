package devcluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"windlass.dev/internal/devcluster/service"
)

// readyDeadline bounds a start. It takes about 5 s on two idle cores.
const readyDeadline = 90 * time.Second

// Find returns the path of the control plane binary: the one given, the one that
// $WINDLASS_CONTROLPLANE names, the one beside this program, or bin/controlplane
// in this folder or one above it.
func Find(given string) (string, error) {
	if given == "" {
		given = os.Getenv("WINDLASS_CONTROLPLANE")
	}
	if given != "" {
		if _, err := os.Stat(given); err != nil {
			return "", fmt.Errorf("control plane: %w (build it with: make controlplane)", err)
		}
		return filepath.Abs(given)
	}
	var candidates []string
	if program, err := os.Executable(); err == nil {
		candidates = append(candidates, filepath.Join(filepath.Dir(program), "controlplane"))
	}
	if dir, err := os.Getwd(); err == nil {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			candidates = append(candidates, filepath.Join(dir, "bin", "controlplane"))
		}
	}
	for _, path := range candidates {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no control plane yet: build it with: make controlplane")
}

// files are the paths and ports from which the parts are started.
type files struct {
	dir                                                      string
	audit                                                    string
	etcdPort, peerPort, apiPort, controllersPort, scheduPort int
}

func (f files) pki(name string) string { return filepath.Join(f.dir, "pki", name) }

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [system:apiserver, system:kube-scheduler, system:kube-controller-manager, windlass:simulator]
- level: None
  userGroups: [system:serviceaccounts:kube-system]
- level: Metadata
`

// prepare writes all files that the parts read.
func (c *Cluster) prepare(ports []int) (files, error) {
	f := files{
		dir: c.options.Dir, audit: filepath.Join(c.options.Dir, "logs", "audit.log"),
		etcdPort: ports[0], peerPort: ports[1], apiPort: ports[2], controllersPort: ports[3], scheduPort: ports[4],
	}
	c.endpoint = fmt.Sprintf("https://127.0.0.1:%d", f.apiPort)
	var err error
	if c.authority, err = loadAuthority(f.pki("")); err != nil {
		return f, fmt.Errorf("certificate authority in %s: %w", f.pki(""), err)
	}
	serving, err := c.authority.server("kubernetes", "kubernetes.default", "kubernetes.default.svc")
	if err != nil {
		return f, err
	}
	admin, err := c.authority.client("windlass:admin", "system:masters")
	if err != nil {
		return f, err
	}
	c.admin = clientConfig(c.endpoint, c.authority, admin)
	kubelets, err := c.authority.client(kubeletClient)
	if err != nil {
		return f, err
	}
	return f, errors.Join(
		kubelets.write(f.pki(""), "kubelet-client"),
		serving.write(f.pki(""), "server"),
		serviceAccountKey(f.pki("sa.key")),
		c.kubeconfig(c.Kubeconfig(), admin),
		c.WriteKubeconfig(f.pki("controller-manager.kubeconfig"), "system:kube-controller-manager"),
		c.WriteKubeconfig(f.pki("scheduler.kubeconfig"), "system:kube-scheduler"),
		os.WriteFile(f.pki("audit-policy.yaml"), []byte(auditPolicy), 0o600),
	)
}

// serviceAccountKey makes the key that signs the tokens of ServiceAccounts. It
// is kept, so that tokens outlive a restart.
func serviceAccountKey(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	content, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: content}), 0o600)
}

func (c *Cluster) kubeconfig(path string, user pair) error {
	const name = "windlass-development"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: c.endpoint, CertificateAuthorityData: c.authority.pem}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: user.certificate, ClientKeyData: user.key}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	return clientcmd.WriteToFile(*config, path)
}

// clientConfig sets no limit of its own: the API server is fair by itself.
func clientConfig(endpoint string, a *authority, user pair) *rest.Config {
	return &rest.Config{
		Host:            endpoint,
		QPS:             -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: a.pem, CertData: user.certificate, KeyData: user.key},
	}
}

func (f files) etcd() []string {
	client, peer := fmt.Sprintf("https://127.0.0.1:%d", f.etcdPort), fmt.Sprintf("http://127.0.0.1:%d", f.peerPort)
	return []string{
		"--data-dir=" + filepath.Join(f.dir, "etcd"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
		"--cert-file=" + f.pki("server.crt"), "--key-file=" + f.pki("server.key"),
		"--trusted-ca-file=" + f.pki("ca.crt"), "--client-cert-auth",
		// What is lost in a power cut is a development cluster.
		"--unsafe-no-fsync",
	}
}

func (f files) apiserver() []string {
	return []string{
		fmt.Sprintf("--etcd-servers=https://127.0.0.1:%d", f.etcdPort),
		"--etcd-cafile=" + f.pki("ca.crt"), "--etcd-certfile=" + f.pki("server.crt"), "--etcd-keyfile=" + f.pki("server.key"),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", f.apiPort),
		"--tls-cert-file=" + f.pki("server.crt"), "--tls-private-key-file=" + f.pki("server.key"),
		"--client-ca-file=" + f.pki("ca.crt"), "--cert-dir=" + f.pki(""),
		"--service-account-key-file=" + f.pki("sa.key"), "--service-account-signing-key-file=" + f.pki("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--authorization-mode=Node,RBAC",
		// As OpenShift has it: who sets a blocking owner reference has to be
		// allowed to set finalizers on the owner.
		"--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
		"--requestheader-client-ca-file=" + f.pki("ca.crt"), "--requestheader-allowed-names=nobody",
		// Logs and streams of process nodes.
		"--kubelet-certificate-authority=" + f.pki("ca.crt"), "--kubelet-preferred-address-types=InternalDNS,InternalIP",
		"--kubelet-client-certificate=" + f.pki("kubelet-client.crt"), "--kubelet-client-key=" + f.pki("kubelet-client.key"),
		"--service-cluster-ip-range=" + service.Range,
		"--audit-policy-file=" + f.pki("audit-policy.yaml"), "--audit-log-path=" + f.audit, "--audit-log-mode=blocking",
		fmt.Sprintf("--audit-log-maxsize=%d", auditLogMiB), "--audit-log-maxbackup=1",
	}
}

func (f files) controllerManager() []string {
	return []string{
		"--kubeconfig=" + f.pki("controller-manager.kubeconfig"),
		"--authentication-kubeconfig=" + f.pki("controller-manager.kubeconfig"), "--authorization-kubeconfig=" + f.pki("controller-manager.kubeconfig"),
		"--service-account-private-key-file=" + f.pki("sa.key"), "--root-ca-file=" + f.pki("ca.crt"),
		"--leader-elect=false", "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", f.controllersPort),
		// Each controller has the rights that it is shipped with.
		"--use-service-account-credentials",
		"--kube-api-qps=1000", "--kube-api-burst=2000",
		"--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20", "--concurrent-job-syncs=20",
		"--concurrent-serviceaccount-token-syncs=20", "--concurrent-namespace-syncs=20", "--concurrent-gc-syncs=40",
		"--concurrent-service-endpoint-syncs=20",
	}
}

func (f files) scheduler() []string {
	return []string{
		"--kubeconfig=" + f.pki("scheduler.kubeconfig"),
		"--authentication-kubeconfig=" + f.pki("scheduler.kubeconfig"), "--authorization-kubeconfig=" + f.pki("scheduler.kubeconfig"),
		"--leader-elect=false", "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", f.scheduPort),
		"--kube-api-qps=1000", "--kube-api-burst=2000",
	}
}

// emulation has a part behave as another version of Kubernetes would.
func (c *Cluster) emulation() []string {
	if c.options.Version == "" {
		return nil
	}
	return []string{"--emulated-version=" + c.options.Version}
}

// awaitServing waits until the API server says that it is ready.
func (c *Cluster) awaitServing(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	return c.await(ctx, "the API server to be ready", func(ctx context.Context) (bool, error) {
		_, err := client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil, nil
	})
}

// awaitReady waits until pods can be made and run.
func (c *Cluster) awaitReady(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	return c.await(ctx, "the nodes and the default ServiceAccount", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		if err != nil {
			return false, ignoreNotFound(err)
		}
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		ready := 0
		for i := range nodes.Items {
			if nodeReady(&nodes.Items[i]) {
				ready++
			}
		}
		return ready >= c.options.Nodes+c.options.ProcessNodes, nil
	})
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// await waits for a condition as long as all processes live.
func (c *Cluster) await(ctx context.Context, what string, condition wait.ConditionWithContextFunc) error {
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, readyDeadline, true, func(ctx context.Context) (bool, error) {
		if err := c.died(); err != nil {
			return false, err
		}
		return condition(ctx)
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	return nil
}
