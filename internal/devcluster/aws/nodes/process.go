package nodes

import (
	"context"
	"errors"

	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/agent"
	"windlass.dev/internal/devcluster/aws/world"
)

// Process makes machines process nodes, whose pods are programs.
type Process struct {
	Client kubernetes.Interface
	Agent  *agent.Agent
}

// Boot has the agent run the node.
func (p Process) Boot(ctx context.Context, m world.Machine) error {
	taints, err := taintsOf(m)
	if err != nil {
		return err
	}
	err = p.Agent.Add(ctx, agent.Node{Name: m.PrivateDnsName, Zone: m.Zone, Labels: labelsOf(m), Taints: taints, ProviderID: providerID(m)})
	if errors.Is(err, agent.ErrHasNode) {
		return nil
	}
	return err
}

// Kill kills the node's programs, and then removes the node and its pods.
func (p Process) Kill(ctx context.Context, m world.Machine) error {
	err := p.Agent.Remove(ctx, m.PrivateDnsName)
	if errors.Is(err, agent.ErrNoNode) {
		return agent.RemoveNode(ctx, p.Client, m.PrivateDnsName) // It ended before its boot did.
	}
	return err
}

// Drain cordons the node and evicts its pods, again and again as EKS does.
func (p Process) Drain(ctx context.Context, m world.Machine) error { return drain(ctx, p.Client, m) }
