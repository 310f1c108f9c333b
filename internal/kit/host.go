package kit

import (
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
)

// Host is what a process lends to its controllers.
type Host struct {
	// Cache delivers watch events and takes indexes.
	Cache cache.Cache
	// Reader reads the cache.
	Reader client.Reader
	// Client writes, and reads past the cache where that is meant.
	Client client.Client
	// Config is how to reach the API server, for what neither of them can.
	Config *rest.Config
	// Mapper tells which kinds the API server knows.
	Mapper   meta.RESTMapper
	Announce Announcer
	Metrics  *Metrics
	// Registry takes further metrics.
	Registry prometheus.Registerer
	Clock    clock.PassiveClock
	Logger   logr.Logger
}

// Controller makes a controller of a kind, which logs under a name, of what the options say
// besides.
func (h *Host) Controller(name string, kind Kind, options controller.Options) (controller.Controller, error) {
	// Several may live in one process when it is a test's.
	options.SkipNameValidation = new(true)
	options.LogConstructor = func(request *ctrl.Request) logr.Logger {
		log := h.Logger.WithName(name)
		if request != nil {
			log = log.WithValues(kind.Kind, klog.KRef(request.Namespace, request.Name))
		}
		return log
	}
	c, err := controller.NewUnmanaged(strings.ToLower(kind.Kind), options)
	if err != nil {
		return nil, fmt.Errorf("controller of %s: %w", kind.Kind, err)
	}
	return c, nil
}
