package devcluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"windlass.dev/internal/devcluster/agent"
	"windlass.dev/internal/devcluster/service"
)

// shipped are the stand-ins that a process node runs instead of well-known images.
//
//go:embed images.yaml
var shipped []byte

// agentUser is who acts for the process nodes.
const agentUser = "windlass:agent"

// startAgent starts the process nodes, if there are to be any.
func (c *Cluster) startAgent(ctx context.Context) error {
	var nodes []agent.Node
	for i := range c.options.ProcessNodes {
		nodes = append(nodes, agent.Node{Name: fmt.Sprintf("process-%d", i), Zone: string(rune('a' + i%3))})
	}
	if err := removeOthers(ctx, c.admin, nodes); err != nil {
		return fmt.Errorf("remove process nodes of an earlier start: %w", err)
	}
	if !c.options.runsProcesses() {
		return nil
	}
	images, err := c.images()
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	config, err := c.ConfigFor(agentUser, "system:masters")
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.options.Dir, "logs", "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	serving, err := c.kubeletServing()
	if err != nil {
		return err
	}
	c.proxy, err = service.Start(ctx, service.Options{Client: client, Dir: filepath.Join(c.options.Dir, "agent"), Octet: c.simulator.number, APIServer: strings.TrimPrefix(c.endpoint, "https://"), Log: log})
	if err != nil {
		return err
	}
	o := agent.Options{ServiceAt: c.proxy.At, Hosts: c.proxy.Hosts, Config: config, Nodes: nodes, Serving: serving, Octet: c.simulator.number, Images: images, Dir: filepath.Join(c.options.Dir, "agent"), Log: log, BackOff: c.options.BackOff}
	c.agent, err = agent.Start(ctx, o)
	return err
}

// removeOthers removes the process nodes that an earlier start had and this one has not,
// with their pods: their machines are gone for good, as machines that a cloud has taken
// away.
func removeOthers(ctx context.Context, config *rest.Config, keep []agent.Node) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: agent.KindLabel + "=" + agent.Process})
	if err != nil {
		return err
	}
	for _, node := range nodes.Items {
		if slices.ContainsFunc(keep, func(n agent.Node) bool { return n.Name == node.Name }) {
			continue
		}
		if err := agent.RemoveNode(ctx, client, node.Name); err != nil {
			return err
		}
	}
	return nil
}

// kubeletClient is the name by which kubelets know the API server.
const kubeletClient = "windlass:kube-apiserver-kubelet-client"

// kubeletServing lets nobody reach the kubelets but the API server, which has asked
// for the user's rights: a port on the loopback interface is open to all users of the
// machine.
func (c *Cluster) kubeletServing() (*tls.Config, error) {
	made, err := c.authority.server()
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(made.certificate, made.key)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AddCert(c.authority.certificate)
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
		VerifyConnection: func(state tls.ConnectionState) error {
			if name := state.PeerCertificates[0].Subject.CommonName; name != kubeletClient {
				return fmt.Errorf("%s is not the API server", name)
			}
			return nil
		},
	}, nil
}

// images are those of the folder, then those that ship with it.
func (c *Cluster) images() (agent.Images, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var all agent.Images
	if c.options.Images != "" {
		if all, err = agent.LoadImages(c.options.Images, self); err != nil {
			return nil, err
		}
	}
	ours, err := agent.ParseImages("the images that ship with it", shipped, self)
	return append(all, ours...), err
}
