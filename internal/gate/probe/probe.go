// Package probe makes the checks of gates: it asks Prometheus, an HTTP server or the API
// server, and says what it saw. What that means for a run is decided by package gate.
//
// A check takes at most Deadline and reads a bounded answer. It never logs; what it says
// names the first few offenders and has no secret in it.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/secret"
)

const (
	// Deadline is how long one check may take.
	Deadline = 10 * time.Second
	// parallel is how many checks are made at a time.
	parallel = 8
	// named is how many offenders are named.
	named = 3
	// maxPart bounds what others say before it is put into a message, in bytes.
	maxPart = 128
)

// Prober makes checks.
type Prober struct {
	reader   client.Reader
	http     *http.Client
	deadline time.Duration
}

// New returns a prober that reads objects, and the Secrets that gates name, with reader.
func New(reader client.Reader) *Prober {
	return &Prober{reader: reader, deadline: Deadline, http: &http.Client{
		Transport:     http.DefaultTransport.(*http.Transport).Clone(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// CheckAll checks gates, several at a time, and returns what was seen by their names.
func (p *Prober) CheckAll(ctx context.Context, gates []run.Gate) map[string]gate.Observation {
	var mu sync.Mutex
	seen := map[string]gate.Observation{}
	var checks errgroup.Group
	checks.SetLimit(parallel)
	for _, g := range gates {
		checks.Go(func() error {
			observation := p.Check(ctx, g)
			mu.Lock()
			defer mu.Unlock()
			seen[g.Name] = observation
			return nil
		})
	}
	_ = checks.Wait() // What goes wrong is an observation.
	return seen
}

// Check checks one gate.
func (p *Prober) Check(ctx context.Context, g run.Gate) gate.Observation {
	limited, cancel := context.WithTimeout(ctx, p.deadline)
	defer cancel()
	observation, err := p.check(limited, g)
	if ctx.Err() != nil {
		return unknown(errors.New("the check was interrupted"))
	}
	if err != nil {
		return unknown(err)
	}
	return observation
}

// check returns an error if it cannot tell.
func (p *Prober) check(ctx context.Context, g run.Gate) (gate.Observation, error) {
	switch {
	case g.Prometheus != nil:
		return p.prometheus(ctx, *g.Prometheus)
	case g.HTTP != nil:
		return p.get(ctx, *g.HTTP)
	case g.Workloads != nil:
		return p.workloads(ctx, *g.Workloads)
	case g.NodeCondition != nil:
		return p.nodeCondition(ctx, *g.NodeCondition)
	case g.Installations != nil:
		return p.installations(ctx, *g.Installations)
	default:
		return gate.Observation{}, errors.New("the gate is of a kind that this version does not know")
	}
}

func unknown(err error) gate.Observation {
	return gate.Observation{Passing: metav1.ConditionUnknown, Message: err.Error()}
}

func observation(passing bool, format string, args ...any) gate.Observation {
	seen := gate.Observation{Passing: metav1.ConditionFalse, Message: fmt.Sprintf(format, args...)}
	if passing {
		seen.Passing = metav1.ConditionTrue
	}
	return seen
}

// list names the first few.
func list(offenders []string) string {
	slices.Sort(offenders)
	if more := len(offenders) - named; more > 0 {
		return strings.Join(offenders[:named], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(offenders, ", ")
}

// secrets must not be in any text.
type secrets []string

// clean makes what a server or a library says fit for a message. Redacting comes first:
// half a secret is not found any more.
func (s secrets) clean(text string) string { return plan.Bounded(secret.Redact(text, s...), maxPart) }

// request makes a GET with the authorization that is wanted.
func (p *Prober) request(ctx context.Context, address string, authorization *run.SecretKey) (*http.Request, secrets, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("the URL is invalid: %w", secret.WithoutURL(err))
	}
	var hidden secrets
	if password, ok := request.URL.User.Password(); ok {
		hidden = append(hidden, password)
	}
	if authorization != nil {
		value, err := secret.Read(ctx, p.reader, *authorization)
		if err != nil {
			return nil, nil, err
		}
		request.Header.Set("Authorization", value)
		parts := strings.Fields(value)
		hidden = append(hidden, value, parts[len(parts)-1])
	}
	return request, hidden, nil
}

// unanswered says why there is no answer.
func (p *Prober) unanswered(ctx context.Context, err error, hidden secrets) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v", p.deadline)
	}
	return "no answer: " + hidden.clean(secret.WithoutURL(err).Error())
}
