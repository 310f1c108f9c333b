package manager

import (
	"context"
	"fmt"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/aws"
	"windlass.dev/internal/cloud/simulated"
	"windlass.dev/internal/kit"
)

// machinesNamespace is where simulated groups of machines are kept.
const machinesNamespace = "windlass-system"

// providers are those who keep the machines of node groups.
func (h Hooks) providers(ctx context.Context, host kit.Host) (cloud.Providers, error) {
	if h.Providers != nil {
		return h.Providers, nil
	}
	amazon := h.AWS
	if amazon == nil {
		var err error
		if amazon, err = aws.FromEnvironment(ctx); err != nil {
			return nil, fmt.Errorf("AWS: %w", err)
		}
	}
	groups, managed := amazon.AutoScaling(), amazon.EKS()
	machines := &simulated.Provider{Client: host.Client, Namespace: machinesNamespace}
	return func(ref v1alpha1.Provider) (cloud.Provider, error) {
		switch {
		case ref.AutoScaling != nil:
			return groups, nil
		case ref.EKS != nil:
			return managed, nil
		case ref.Simulated != nil:
			return machines, nil
		default:
			return nil, fmt.Errorf("%w: this Windlass does not know it", cloud.ErrUnsupported)
		}
	}, nil
}
