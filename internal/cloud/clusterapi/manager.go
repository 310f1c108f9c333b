package clusterapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/objects"
)

// callTimeout bounds each call to a management cluster.
const callTimeout = 20 * time.Second

// kubeconfigKey of a Secret has the kubeconfig.
const kubeconfigKey = "kubeconfig"

// managers are the clients of management clusters, made anew when their Secret changes.
type managers struct {
	mu    sync.Mutex
	known map[v1alpha1.SecretReference]manager
}

type manager struct {
	client client.Client
	// of is the version of the Secret.
	of string
}

// manager is the client of the cluster in which a group is kept.
func (p *Provider) manager(ctx context.Context, ref *v1alpha1.SecretReference) (client.Client, error) {
	if ref == nil {
		return p.Client, nil
	}
	var secret corev1.Secret
	what := fmt.Sprintf("the kubeconfig in Secret %s/%s", ref.Namespace, ref.Name)
	if err := p.Client.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, &secret); err != nil {
		// Not ErrNotFound even if it is missing, since of the group that says nothing: so the
		// error goes in as text.
		return nil, fmt.Errorf("read %s: %w: %s", what, cloud.ErrCredentials, err.Error())
	}
	p.others.mu.Lock()
	defer p.others.mu.Unlock()
	if m, ok := p.others.known[*ref]; ok && m.of == secret.ResourceVersion {
		return m.client, nil
	}
	config, err := restConfig(secret.Data[kubeconfigKey])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		return nil, objects.Explain("connect by "+what, err)
	}
	if p.others.known == nil {
		p.others.known = map[v1alpha1.SecretReference]manager{}
	}
	p.others.known[*ref] = manager{client: c, of: secret.ResourceVersion}
	return c, nil
}

// restConfig takes a kubeconfig that holds all its credentials itself. One that names a
// program or a file would run or read it here, with the rights of this process.
func restConfig(kubeconfig []byte) (*rest.Config, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cloud.ErrCredentials, err)
	}
	if config.ExecProvider != nil || config.AuthProvider != nil || config.BearerTokenFile != "" || config.CertFile != "" || config.KeyFile != "" || config.CAFile != "" {
		return nil, fmt.Errorf("%w: it names a program or a file: put the token or the certificate itself into it", cloud.ErrCredentials)
	}
	config.Timeout = callTimeout
	return config, nil
}
