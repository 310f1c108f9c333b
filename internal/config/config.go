// Package config is the one place that reads configuration: a typed, versioned,
// strictly decoded file, the three environment variables of the Mattermost Operator
// that people have in their manifests, and the namespace of the pod.
package config

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// APIVersion and Kind are what a configuration file says of itself.
const (
	APIVersion = "config.windlass.dev/v1alpha1"
	Kind       = "Configuration"
)

// Configuration is everything that `windlass run` can be told.
type Configuration struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`

	// Namespace is Windlass' own: where clusters of a fleet are registered, and where
	// admission is frozen. Also read from POD_NAMESPACE, which the Deployment sets.
	Namespace string `json:"namespace,omitempty"`
	// Namespaces confines all controllers to these namespaces, so that Roles are
	// enough; empty means the whole cluster.
	Namespaces []string `json:"namespaces,omitempty"`
	// Resync is how often everything is looked at again although nothing
	// changed, at least 10s. A resync of what is as it should be costs no request.
	Resync metav1.Duration `json:"resync,omitzero"`

	Installations Installations `json:"installations,omitzero"`
	Restores      Restores      `json:"restores,omitzero"`
	Rotations     Rotations     `json:"rotations,omitzero"`
	Fleet         Fleet         `json:"fleet,omitzero"`
	Rollouts      Rollouts      `json:"rollouts,omitzero"`
	Leases        Leases        `json:"leases,omitzero"`
	Metrics       Metrics       `json:"metrics,omitzero"`
	Health        Health        `json:"health,omitzero"`
	Pprof         Pprof         `json:"pprof,omitzero"`
	Client        Client        `json:"client,omitzero"`
	Log           Log           `json:"log,omitzero"`
}

// Installations configures the controllers of Mattermost and ClusterInstallation
// resources.
type Installations struct {
	// Disabled switches the controller off.
	Disabled bool `json:"disabled,omitempty"`
	// Concurrency is how many installations are looked at at the same time, 1 to
	// 200; by default two for each processor, and at most 20. Also read from
	// MAX_RECONCILE_CONCURRENCY.
	Concurrency int `json:"concurrency,omitempty"`
	// Shape is that of new installations which do not say theirs: Standard, the
	// default, or Strict, which equals what the Mattermost Operator makes.
	Shape string `json:"shape,omitempty"`
	// Lease is held while the controller acts. The default is that of the
	// Mattermost Operator, so that during a swap the two never act together.
	Lease Lease `json:"lease,omitzero"`
}

// Restores configures the controller of MattermostRestoreDB resources. It acts under the
// lease of installations.
type Restores struct {
	// Disabled switches the controller off. One that was begun stays where it is.
	Disabled bool `json:"disabled,omitempty"`
}

// Rotations configures the controller of node rotations. Nodes belong to the whole
// cluster: a Windlass that is confined to namespaces does not run it.
type Rotations struct {
	// Disabled switches the controller off.
	Disabled bool `json:"disabled,omitempty"`
	// Lease is held while the controller acts.
	Lease Lease `json:"lease,omitzero"`
}

// Fleet configures the controller of FleetRotations. One that is confined to namespaces
// has none: a fleet is the whole cluster's.
type Fleet struct {
	// Disabled switches the controller off.
	Disabled bool `json:"disabled,omitempty"`
	// Lease is held while the controller acts.
	Lease Lease `json:"lease,omitzero"`
}

// Rollouts configures the controller of InstallationRollouts. One that is confined to
// namespaces has none: a roll-out is of no namespace.
type Rollouts struct {
	// Disabled switches the controller off.
	Disabled bool `json:"disabled,omitempty"`
	// Lease is held while the controller acts.
	Lease Lease `json:"lease,omitzero"`
}

// Lease names a Lease object.
type Lease struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// Leases is how all leases are held.
type Leases struct {
	// Disabled acts without any lease: only for a single process, such as one
	// that is started by hand.
	Disabled      bool            `json:"disabled,omitempty"`
	Duration      metav1.Duration `json:"duration,omitzero"`
	RenewDeadline metav1.Duration `json:"renewDeadline,omitzero"`
	RetryPeriod   metav1.Duration `json:"retryPeriod,omitzero"`
}

// Metrics is where metrics are served.
type Metrics struct {
	// Address is host:port; "0" serves none.
	Address string `json:"address,omitempty"`
	// Insecure serves plain HTTP to anybody. Otherwise metrics are served over
	// TLS to identities that may "get" the non-resource URL /metrics.
	Insecure bool `json:"insecure,omitempty"`
}

// Health is where /healthz and /readyz are served.
type Health struct {
	// Address is host:port; "0" serves none.
	Address string `json:"address,omitempty"`
}

// Pprof is where Go's profiles are served.
type Pprof struct {
	// Address is host:port; empty serves none. Profiles are not authenticated:
	// bind to the loopback interface and port-forward.
	Address string `json:"address,omitempty"`
}

// Client limits the requests to the API server.
type Client struct {
	// QPS is requests a second, Burst is how many may come at once. QPS -1 sets
	// no limit and leaves fairness to the API server, which is the default.
	QPS   float32 `json:"qps,omitempty"`
	Burst int     `json:"burst,omitempty"`
}

// Log is what is logged.
type Log struct {
	// Level 0 logs what was changed, 1 also why not more, 4 details.
	Level int `json:"level,omitempty"`
	// Format is json or text.
	Format string `json:"format,omitempty"`
}

// concurrency is how many installations are looked at at the same time by default: two for
// each processor, since most wait for answers. More of them than the processors keep up
// with get in each other's way, and in that of a decision about all of them, which waits
// behind each that has something to compute (docs/measurements.md).
func concurrency(processors int) int { return min(2*processors, 20) }

// Default is the configuration of a cluster that was told nothing.
func Default() Configuration {
	return Configuration{
		APIVersion: APIVersion,
		Kind:       Kind,
		Namespace:  "windlass-system",
		Resync:     metav1.Duration{Duration: 10 * time.Hour},
		Installations: Installations{
			Concurrency: concurrency(runtime.GOMAXPROCS(0)),
			Shape:       "Standard",
			Lease:       Lease{Namespace: "mattermost-operator", Name: "b78a986e.mattermost.com"},
		},
		Rotations: Rotations{Lease: Lease{Namespace: "windlass-system", Name: "windlass-rotation"}},
		Fleet:     Fleet{Lease: Lease{Namespace: "windlass-system", Name: "windlass-fleet"}},
		Rollouts:  Rollouts{Lease: Lease{Namespace: "windlass-system", Name: "windlass-rollouts"}},
		Leases: Leases{
			Duration:      metav1.Duration{Duration: 15 * time.Second},
			RenewDeadline: metav1.Duration{Duration: 10 * time.Second},
			RetryPeriod:   metav1.Duration{Duration: 2 * time.Second},
		},
		Metrics: Metrics{Address: ":8443"},
		Health:  Health{Address: ":8081"},
		Client:  Client{QPS: -1},
		Log:     Log{Format: "json"},
	}
}

// Load reads the file, if one is named, over the defaults, then the environment
// over the file, and validates the result. notes are remarks for the operator's
// log about settings that are understood but have no effect.
func Load(path string, env func(string) (string, bool)) (cfg Configuration, notes []string, err error) {
	cfg = Default()
	if path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return cfg, nil, fmt.Errorf("configuration: %w", err)
		}
		if cfg, err = Parse(content); err != nil {
			return cfg, nil, fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	notes, err = cfg.readEnvironment(env)
	return cfg, notes, errors.Join(err, cfg.validate())
}

// Parse decodes a file over the defaults. Unknown and repeated keys are errors.
func Parse(content []byte) (Configuration, error) {
	cfg := Default()
	cfg.APIVersion, cfg.Kind = "", ""
	if err := yaml.UnmarshalStrict(content, &cfg); err != nil {
		return cfg, err
	}
	if cfg.APIVersion != APIVersion || cfg.Kind != Kind {
		return cfg, fmt.Errorf("is %q of %q; this version of Windlass reads %q of %q", cfg.Kind, cfg.APIVersion, Kind, APIVersion)
	}
	return cfg, cfg.validate()
}

// readEnvironment understands the variables of the Mattermost Operator, and where the pod
// runs.
func (c *Configuration) readEnvironment(env func(string) (string, bool)) (notes []string, err error) {
	var problems []error
	if name, ok := env("POD_NAMESPACE"); ok && name != "" {
		if c.Fleet.Lease.Namespace == c.Namespace {
			c.Fleet.Lease.Namespace = name
		}
		c.Namespace = name
	}
	if text, ok := env("MAX_RECONCILE_CONCURRENCY"); ok && text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("MAX_RECONCILE_CONCURRENCY=%q: want a whole number, such as 20", text))
		}
		c.Installations.Concurrency = n
	}
	// No installation waits for another here, so there is no limit to set. A
	// value that the other operator would refuse is refused all the same, or a
	// way back would fail for a typing error made today.
	if text, ok := env("MAX_RECONCILING_INSTALLATIONS"); ok && text != "" {
		if _, err := strconv.Atoi(text); err != nil {
			problems = append(problems, fmt.Errorf("MAX_RECONCILING_INSTALLATIONS=%q: want a whole number, such as 20", text))
		}
		notes = append(notes, "MAX_RECONCILING_INSTALLATIONS has no effect: no installation waits for another")
	}
	if text, ok := env("REQUEUE_ON_LIMIT_DELAY"); ok && text != "" {
		if _, err := time.ParseDuration(text); err != nil {
			problems = append(problems, fmt.Errorf("REQUEUE_ON_LIMIT_DELAY=%q: want a duration, such as 20s", text))
		}
		notes = append(notes, "REQUEUE_ON_LIMIT_DELAY has no effect: no installation waits for another")
	}
	return notes, errors.Join(problems...)
}

// validate says everything that is wrong at once.
func (c *Configuration) validate() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if n := c.Installations.Concurrency; n < 1 || n > 200 {
		wrong("installations.concurrency is %d; want 1 to 200", n)
	}
	if s := c.Installations.Shape; s != "Standard" && s != "Strict" {
		wrong("installations.shape is %q; want Standard or Strict", s)
	}
	if c.Resync.Duration < 10*time.Second {
		wrong("resync is %s; want at least 10s", c.Resync.Duration)
	}
	for i, name := range c.Namespaces {
		if len(validation.IsDNS1123Label(name)) > 0 {
			wrong("namespaces[%d] is %q, which is no namespace name", i, name)
		}
	}
	if len(validation.IsDNS1123Label(c.Namespace)) > 0 {
		wrong("namespace is %q, which is no namespace name", c.Namespace)
	}
	problems = append(problems, c.Installations.Lease.validate("installations.lease"), c.Rotations.Lease.validate("rotations.lease"), c.Fleet.Lease.validate("fleet.lease"), c.Rollouts.Lease.validate("rollouts.lease"))
	if t := c.Leases; !t.Disabled && !t.holds() {
		wrong("leases: duration %s has to be longer than renewDeadline %s, and that 1.2 times longer than retryPeriod %s",
			t.Duration.Duration, t.RenewDeadline.Duration, t.RetryPeriod.Duration)
	}
	if c.Client.QPS > 0 && c.Client.Burst < 1 {
		wrong("client.qps is %g but client.burst is %d; set a burst of at least 1", c.Client.QPS, c.Client.Burst)
	}
	return errors.Join(append(problems, c.Log.validate())...)
}

func (l Lease) validate(path string) error {
	if len(validation.IsDNS1123Label(l.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(l.Name)) > 0 {
		return fmt.Errorf("%s is %q in namespace %q; both have to be Kubernetes names", path, l.Name, l.Namespace)
	}
	return nil
}

// holds says that a holder gives up before others may take over.
func (l Leases) holds() bool {
	retry, renew, lasts := l.RetryPeriod.Duration, l.RenewDeadline.Duration, l.Duration.Duration
	return retry > 0 && renew > retry*6/5 && lasts > renew
}

func (l Log) validate() error {
	var problems []error
	if l.Format != "json" && l.Format != "text" {
		problems = append(problems, fmt.Errorf("log.format is %q; want json or text", l.Format))
	}
	if l.Level < 0 || l.Level > 10 {
		problems = append(problems, fmt.Errorf("log.level is %d; want 0 to 10", l.Level))
	}
	return errors.Join(problems...)
}
