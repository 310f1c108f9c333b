package controller

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/fleetrotation"
)

// checkedFor is how long a check of a cluster counts.
const checkedFor = 15 * time.Second

// Cluster is one that is registered.
type Cluster struct {
	Name string
	// Labels are those by which waves select it.
	Labels map[string]string
	// Namespace is where Windlass runs in it.
	Namespace string

	uid     types.UID
	version string // The resource version of the registration.
	// problem is why there is no connection.
	problem *fleetrotation.Problem
	client  client.Client
	raw     rest.Interface
	hidden  []string
	clock   clock.PassiveClock

	mu      sync.Mutex
	checked Checked
	at      time.Time
}

// Checked is what became of a check.
type Checked struct {
	// Version is that of Kubernetes.
	Version string
	// Unfit is what keeps the cluster from being rotated.
	Unfit []fleetrotation.Problem
}

// connect makes what is needed to talk to a cluster, and does not talk to it.
func connect(secret *corev1.Secret, clock clock.PassiveClock) *Cluster {
	c := &Cluster{
		Name: secret.Name, Labels: secret.Labels, uid: secret.UID, version: secret.ResourceVersion, clock: clock,
		Namespace: cmp.Or(string(secret.Data[v1alpha1.FleetClusterNamespace]), "windlass-system"),
	}
	config, hidden, problem := configOf(secret)
	if problem != nil {
		c.problem = problem
		return c
	}
	c.hidden = hidden
	config.Timeout = listTimeout // Of any call; each has a deadline of its own besides.
	config.QPS = -1
	config.UserAgent = fleetrotation.Manager
	config.WarningHandler = rest.NoWarnings{}
	if err := c.dial(config); err != nil {
		c.problem = unusable(c.redact(err.Error()))
	}
	return c
}

func (c *Cluster) dial(config *rest.Config) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), installations.AddToScheme(scheme), coordinationv1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme)); err != nil {
		return err
	}
	// The kinds are known, so that nothing has to be discovered.
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("NodeRotation"), meta.RESTScopeRoot)
	mapper.Add(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"), meta.RESTScopeRoot)
	mapper.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), meta.RESTScopeNamespace)
	mapper.Add(installations.GroupVersion.WithKind("Mattermost"), meta.RESTScopeNamespace)
	connection, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	c.client, err = client.New(config, client.Options{Scheme: scheme, Mapper: mapper, HTTPClient: connection})
	if err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	config.NegotiatedSerializer = clientgoscheme.Codecs.WithoutConversion()
	c.raw, err = rest.UnversionedRESTClientForConfigAndClient(config, connection)
	return err
}

// Right is one thing that a registration has to be allowed to do in its cluster.
type Right struct{ Group, Resource, Verb string }

// Rights are all of them; those on leases in Windlass' namespace.
var Rights = []Right{
	{"nodes.windlass.dev", "noderotations", "get"}, {"nodes.windlass.dev", "noderotations", "create"}, {"nodes.windlass.dev", "noderotations", "patch"},
	{"installation.mattermost.com", "mattermosts", "list"},
	{"coordination.k8s.io", "leases", "get"}, {"coordination.k8s.io", "leases", "create"}, {"coordination.k8s.io", "leases", "update"}, {"coordination.k8s.io", "leases", "delete"},
}

// Check looks whether a cluster can be rotated. A problem says why that is not known.
func (c *Cluster) Check(ctx context.Context) (Checked, *fleetrotation.Problem) {
	if c.problem != nil {
		return Checked{}, c.problem
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	checked, err := c.check(ctx)
	if err != nil {
		return Checked{}, c.problemOf(err)
	}
	return checked, nil
}

func (c *Cluster) check(ctx context.Context) (Checked, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && c.clock.Since(c.at) < checkedFor {
		return c.checked, nil
	}
	checked, err := c.checkNow(ctx)
	if err == nil {
		c.checked, c.at = checked, c.clock.Now()
	}
	return checked, err
}

func (c *Cluster) checkNow(ctx context.Context) (Checked, error) {
	var kubernetes version.Info
	if err := c.getJSON(ctx, "/version", &kubernetes); err != nil {
		return Checked{}, err
	}
	checked := Checked{Version: kubernetes.GitVersion}
	var served metav1.APIResourceList
	err := c.getJSON(ctx, "/apis/"+v1alpha1.GroupVersion.String(), &served)
	known := slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Kind == "NodeRotation" })
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return Checked{}, err
	case !known:
		checked.Unfit = append(checked.Unfit, fleetrotation.Problem{
			Reason: v1alpha1.ReasonKindNotServed, Message: "The cluster does not know NodeRotation of " + v1alpha1.GroupVersion.String() + "; install Windlass in it.",
		})
	}
	var denied []string
	for _, right := range Rights {
		attributes := &authorizationv1.ResourceAttributes{Group: right.Group, Resource: right.Resource, Verb: right.Verb}
		if right.Resource == "leases" {
			attributes.Namespace, attributes.Name = c.Namespace, installations.AdmissionFreeze
			if right.Verb == "create" {
				attributes.Name = "" // Which has no name yet when that is asked.
			}
		}
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes}}
		if err := c.client.Create(ctx, review); err != nil {
			return Checked{}, err
		}
		if !review.Status.Allowed {
			denied = append(denied, right.Verb+" "+right.Resource)
		}
	}
	if len(denied) > 0 {
		checked.Unfit = append(checked.Unfit, fleetrotation.Problem{
			Reason: v1alpha1.ReasonNotPermitted, Message: "The registration may not: " + strings.Join(denied, ", ") + ".",
		})
	}
	return checked, nil
}

func (c *Cluster) getJSON(ctx context.Context, path string, into any) error {
	content, err := c.raw.Get().AbsPath(path).Do(ctx).Raw()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("%s is answered with what is no JSON", path)
	}
	return nil
}

// problemOf says why a cluster could not be read, in the same words as long as it is for
// the same reason: with the port of the moment each status would differ from the last.
func (c *Cluster) problemOf(err error) *fleetrotation.Problem {
	said := func(reason, text string) *fleetrotation.Problem {
		return &fleetrotation.Problem{Reason: reason, Message: c.redact(text)}
	}
	if apierrors.IsUnauthorized(err) {
		return said(v1alpha1.ReasonNotPermitted, "The cluster does not accept the registration's credentials.")
	}
	if apierrors.IsForbidden(err) {
		return said(v1alpha1.ReasonNotPermitted, "The cluster refuses: "+err.Error())
	}
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
		return said(v1alpha1.ReasonUnreachable, "The cluster answers: "+status.ErrStatus.Message)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return said(v1alpha1.ReasonUnreachable, "The cluster's server is not found: "+dns.Err+".")
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return said(v1alpha1.ReasonUnreachable, "The server's certificate is by an authority that the registration does not know.")
	}
	if timed, ok := errors.AsType[net.Error](err); ok && timed.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return said(v1alpha1.ReasonUnreachable, fmt.Sprintf("The cluster does not answer within %s.", callTimeout))
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		return said(v1alpha1.ReasonUnreachable, fmt.Sprintf("The cluster cannot be reached: %s: %s.", operation.Op, operation.Err))
	}
	return said(v1alpha1.ReasonUnreachable, "The cluster cannot be read: "+err.Error())
}
