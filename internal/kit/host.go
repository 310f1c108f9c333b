package kit

import (
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
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
