// Package installations tests the controller of Mattermost resources on a real
// Kubernetes control plane, with the shipped permissions.
package installations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// deadline bounds each wait. The garbage collector takes up to 30 s to notice a
// new kind, and a busy machine multiplies everything else.
const deadline = 3 * time.Minute

func TestMain(m *testing.M) {
	windlasstest.Main(m, func(ctx context.Context, config *rest.Config) error {
		return devcluster.MakeGateway(ctx, config, "default", "public")
	})
}

// public is a Gateway that takes all routes.
func public() *v1beta1.GatewayReference {
	return &v1beta1.GatewayReference{Namespace: "default", Name: "public"}
}

// shipped returns the ClusterRole that windlass install applies.
func shipped(t testing.TB) *rbacv1.ClusterRole {
	t.Helper()
	var role rbacv1.ClusterRole
	if err := windlasstest.Client(t).Get(t.Context(), types.NamespacedName{Name: install.Name}, &role); err != nil {
		t.Fatal(err)
	}
	return &role
}

// grant binds the rules, and the rights to hold a lease and to look whether admission is
// frozen, to a user of the test's own.
func grant(t testing.TB, namespace string, rules []rbacv1.PolicyRule) (user string) {
	t.Helper()
	user = "system:serviceaccount:" + namespace + ":windlass"
	name := "test-" + namespace
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: "windlass"}}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	}
	leases := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "list", "watch", "create", "update"}}},
	}
	leasesBinding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
	}
	c := windlasstest.Client(t)
	for _, object := range []client.Object{role, binding, leases, leasesBinding} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, object := range []client.Object{role, binding} {
			if err := c.Delete(ctx, object); err != nil {
				t.Logf("remove %T %s: %v", object, name, err)
			}
		}
	})
	return user
}

// windlass is one running process of ours, as far as the API server can tell.
type windlass struct {
	// older makes the API server refuse to stream lists, as older ones do.
	older bool

	cancel context.CancelFunc
	ended  chan error
	filled chan struct{}
	// refused is closed at the first request that permissions do not allow.
	refused chan struct{}
	refusal sync.Once
	// requests are the permissions that requests needed, by permission.
	requests sync.Map
}

// confined returns the shipped configuration for one namespace.
func confined(namespace string) config.Configuration {
	cfg := config.Default()
	cfg.Namespace, cfg.Namespaces = namespace, []string{namespace}
	cfg.Metrics.Address, cfg.Health.Address = "0", "0"
	cfg.Installations.Lease = config.Lease{Namespace: namespace, Name: "windlass"}
	// Who ends gives the lease back, so that the next one only has to ask often. A busy
	// machine may be late to renew it, and who loses it ends.
	cfg.Leases.Duration = metav1.Duration{Duration: 20 * time.Second}
	cfg.Leases.RenewDeadline = metav1.Duration{Duration: 15 * time.Second}
	cfg.Leases.RetryPeriod = metav1.Duration{Duration: 500 * time.Millisecond}
	return cfg
}

// start runs the controllers, confined to a namespace, as a user.
func start(t testing.TB, namespace, user string, hooks manager.Hooks) *windlass {
	t.Helper()
	w := &windlass{}
	w.start(t, confined(namespace), user, hooks)
	return w
}

func (w *windlass) start(t testing.TB, cfg config.Configuration, user string, hooks manager.Hooks) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctrl.LoggerInto(context.WithoutCancel(t.Context()), logr.Discard()))
	w.cancel, w.ended, w.filled, w.refused = cancel, make(chan error, 1), make(chan struct{}), make(chan struct{})
	hooks.Registry = prometheus.NewRegistry()
	hooks.Started = func() { close(w.filled) }
	config := clustertest.Config(t, user)
	config.Wrap(w.overhear)
	go func() { w.ended <- manager.Run(ctx, cfg, config, hooks) }()
	t.Cleanup(func() { w.stop(t) })
}

type answers func(*http.Request) (*http.Response, error)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// overhear sits between the process and the API server.
func (w *windlass) overhear(next http.RoundTripper) http.RoundTripper {
	return answers(func(r *http.Request) (*http.Response, error) {
		if w.older && r.URL.Query().Has("sendInitialEvents") {
			return &http.Response{
				StatusCode: http.StatusUnprocessableEntity, Request: r, Header: http.Header{"Content-Type": {"application/json"}},
				Body: io.NopCloser(strings.NewReader(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)),
			}, nil
		}
		response, err := next.RoundTrip(r)
		if err == nil {
			w.note(r, response.StatusCode)
		}
		if err == nil && response.StatusCode == http.StatusForbidden {
			w.refusal.Do(func() { close(w.refused) })
		}
		return response, err
	})
}

// permission is one verb on one resource, such as patch on mattermosts/status.
type permission struct{ group, resource, verb string }

func (w *windlass) used(p permission) bool {
	_, used := w.requests.Load(p)
	return used
}

// note remembers which permission a request needed.
func (w *windlass) note(r *http.Request, status int) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	p := permission{}
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		p.group, parts = parts[1], parts[3:]
	default:
		return // Discovery, which everybody may do.
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	p.resource = parts[0]
	if len(parts) > 2 {
		p.resource += "/" + parts[2]
	}
	verbs := map[string][]string{http.MethodPost: {"create"}, http.MethodPut: {"update"}, http.MethodPatch: {"patch"}, http.MethodDelete: {"delete"}}[r.Method]
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") != "":
		verbs = []string{"watch"}
	case r.Method == http.MethodGet && len(parts) == 1:
		verbs = []string{"list"}
	case r.Method == http.MethodGet:
		verbs = []string{"get"}
	case r.Method == http.MethodPatch && status == http.StatusCreated:
		verbs = append(verbs, "create") // An apply that makes an object needs both.
	}
	for _, verb := range verbs {
		p.verb = verb
		w.requests.Store(p, true)
	}
}

// stop ends the process and waits until it has.
func (w *windlass) stop(t testing.TB) {
	t.Helper()
	w.cancel()
	select {
	case err := <-w.ended:
		w.ended <- err
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("the controllers ended: %v", err)
		}
	case <-time.After(deadline):
		t.Error("the controllers do not end")
	}
}

// eventually waits until check returns nothing that is awaited.
func eventually(t testing.TB, check func(context.Context) (awaited string, err error)) {
	t.Helper()
	awaited := ""
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		now, err := check(ctx)
		if ctx.Err() == nil || now != "" {
			awaited = now // What the last request that was in time said.
		}
		return now == "" && err == nil, err
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v", awaited, err)
	}
}

// stable waits until the installation is stable for its current generation.
func stable(t testing.TB, c client.Client, name types.NamespacedName) *v1beta1.Mattermost {
	t.Helper()
	mm := &v1beta1.Mattermost{}
	eventually(t, func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, name, mm); err != nil {
			return "", err
		}
		if mm.Status.State != v1beta1.Stable || mm.Status.ObservedGeneration != mm.Generation {
			return fmt.Sprintf("%s to become stable; its status is %+v", name, mm.Status), nil
		}
		return "", nil
	})
	return mm
}

// secrets makes the Secrets that installation refers to.
func secrets(t testing.TB, c client.Client, namespace string) {
	t.Helper()
	for name, data := range map[string]map[string]string{
		"db": {"DB_CONNECTION_STRING": "postgres://example:example@db.example.com/mm"},
		"fs": {"accesskey": "example", "secretkey": "example"},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: data}
		if err := c.Create(t.Context(), secret); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

func example(namespace, name string) *v1beta1.Mattermost {
	return &v1beta1.Mattermost{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1beta1.MattermostSpec{
			Version:   "10.5.2",
			Ingress:   &v1beta1.Ingress{Enabled: true, Host: name + ".example.com"},
			Database:  v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
			FileStore: v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: name, Secret: "fs"}},
		},
	}
}

func create(t testing.TB, c client.Client, namespace, name string) types.NamespacedName {
	t.Helper()
	secrets(t, c, namespace)
	mm := example(namespace, name)
	if err := c.Create(t.Context(), mm); err != nil {
		t.Fatal(err)
	}
	return client.ObjectKeyFromObject(mm)
}

// edit changes the stored resource.
func edit(t testing.TB, c client.Client, name types.NamespacedName, change func(*v1beta1.Mattermost)) {
	t.Helper()
	var mm v1beta1.Mattermost
	if err := c.Get(t.Context(), name, &mm); err != nil {
		t.Fatal(err)
	}
	before := mm.DeepCopy()
	change(&mm)
	if err := c.Patch(t.Context(), &mm, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// mark is now in the audit.
func mark(t testing.TB, audit *devcluster.Audit) devcluster.Mark {
	t.Helper()
	at, err := audit.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// since are a user's requests since a mark.
func since(t testing.TB, audit *devcluster.Audit, from devcluster.Mark, user string) []devcluster.Request {
	t.Helper()
	requests, err := audit.Since(from, mark(t, audit), user)
	if err != nil {
		t.Fatal(err)
	}
	return requests
}
