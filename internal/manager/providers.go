package manager

import (
	"fmt"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/simulated"
	"windlass.dev/internal/kit"
)

// machinesNamespace is where simulated groups of machines are kept.
const machinesNamespace = "windlass-system"

// providers are those who keep the machines of node groups.
func (h Hooks) providers(host kit.Host) cloud.Providers {
	if h.Providers != nil {
		return h.Providers
	}
	machines := &simulated.Provider{Client: host.Client, Namespace: machinesNamespace}
	return func(ref v1alpha1.Provider) (cloud.Provider, error) {
		if ref.Simulated != nil {
			return machines, nil
		}
		return nil, fmt.Errorf("%w: this Windlass does not know it", cloud.ErrUnsupported)
	}
}
