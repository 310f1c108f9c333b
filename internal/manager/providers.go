package manager

import (
	"context"
	"fmt"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/aws"
	"windlass.dev/internal/cloud/clusterapi"
	"windlass.dev/internal/cloud/karpenter"
	"windlass.dev/internal/cloud/simulated"
	"windlass.dev/internal/kit"
)

// machinesNamespace is where simulated groups of machines are kept.
const machinesNamespace = "windlass-system"

// clouds are those who keep the machines of node groups, and who finds images for them.
func (h Hooks) clouds(ctx context.Context, host kit.Host) (cloud.Providers, cloud.Images, error) {
	if h.Providers != nil && h.Images != nil {
		return h.Providers, h.Images, nil
	}
	amazon := h.AWS
	if amazon == nil {
		var err error
		if amazon, err = aws.FromEnvironment(ctx); err != nil {
			return nil, nil, fmt.Errorf("AWS: %w", err)
		}
	}
	providers, images := keepers(amazon, host), amazon.Images()
	if h.Providers != nil {
		providers = h.Providers
	}
	if h.Images != nil {
		images = h.Images
	}
	return providers, images, nil
}

func keepers(amazon *aws.Cloud, host kit.Host) cloud.Providers {
	groups, managed := amazon.AutoScaling(), amazon.EKS()
	machines := &simulated.Provider{Client: host.Client, Namespace: machinesNamespace}
	deployments := &clusterapi.Provider{Client: host.Client}
	pools := &karpenter.Provider{Client: host.Client, Clock: host.Clock}
	return func(ref v1alpha1.Provider) (cloud.Provider, error) {
		switch {
		case ref.AutoScaling != nil:
			return groups, nil
		case ref.EKS != nil:
			return managed, nil
		case ref.ClusterAPI != nil:
			return deployments, nil
		case ref.Karpenter != nil:
			return pools, nil
		case ref.Simulated != nil:
			return machines, nil
		default:
			return nil, fmt.Errorf("%w: this Windlass does not know it", cloud.ErrUnsupported)
		}
	}
}
