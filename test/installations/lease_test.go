package installations

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/manager"
	"windlass.dev/test/faults"
	"windlass.dev/test/windlasstest"
)

// sharedLease is the name of the lease of the Mattermost Operator.
const sharedLease = "b78a986e.mattermost.com"

// acts records who acted, in order, and who held the lease then.
type acts struct {
	mu    sync.Mutex
	actor []string
	// holder is who held the lease at each act.
	holder []string
}

// did is called before a write.
func (a *acts) did(ctx context.Context, c client.Client, lease types.NamespacedName, actor string) {
	holder := holderOf(context.WithoutCancel(ctx), c, lease) // Even when it is being stopped.
	a.mu.Lock()
	defer a.mu.Unlock()
	a.actor, a.holder = append(a.actor, actor), append(a.holder, holder)
}

func holderOf(ctx context.Context, c client.Client, lease types.NamespacedName) string {
	var held coordinationv1.Lease
	if err := c.Get(ctx, lease, &held); err != nil || held.Spec.HolderIdentity == nil {
		return ""
	}
	return *held.Spec.HolderIdentity
}

// turns returns the actors without repetition.
func (a *acts) turns() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Compact(slices.Clone(a.actor))
}

// holders returns who held the lease, without repetition. The one who acts may go
// on while the test looks.
func (a *acts) holders() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Compact(slices.Clone(a.holder))
}

// startUpstream runs a manager as the Mattermost Operator is built: with
// controller-runtime's own election on its lease. Its controller marks each
// installation that it looks at.
func startUpstream(t *testing.T, namespace string, a *acts) (stop func()) {
	t.Helper()
	c := windlasstest.Client(t)
	scheme, err := manager.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	timing := confined(namespace).Leases
	mgr, err := ctrl.NewManager(clustertest.Shared(), ctrl.Options{
		Scheme: scheme, Logger: logr.Discard(),
		Metrics:        metricsserver.Options{BindAddress: "0"},
		Cache:          cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		LeaderElection: true, LeaderElectionID: sharedLease, LeaderElectionNamespace: namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &timing.Duration.Duration, RenewDeadline: &timing.RenewDeadline.Duration, RetryPeriod: &timing.RetryPeriod.Duration,
	})
	if err != nil {
		t.Fatal(err)
	}
	lease := types.NamespacedName{Namespace: namespace, Name: sharedLease}
	reconciler := reconcile.Func(func(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
		a.did(ctx, c, lease, "upstream")
		mm := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: request.Namespace, Name: request.Name}}
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"example.com/upstream":"was-here"}}}`))
		return ctrl.Result{}, client.IgnoreNotFound(c.Patch(ctx, mm, patch))
	})
	// Several controllers of one name live in this process.
	options := controller.Options{SkipNameValidation: new(true)}
	if err := ctrl.NewControllerManagedBy(mgr).For(&v1beta1.Mattermost{}).WithOptions(options).Complete(reconciler); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	stopped := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the other operator: %v", err)
		}
	})
	t.Cleanup(stopped)
	return stopped
}

// TestNeverTwoOperators swaps the Mattermost Operator for Windlass and back
// while both run: whoever has the lease acts, the other one waits.
func TestNeverTwoOperators(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	user := grant(t, ns, shipped(t).Rules)
	lease := types.NamespacedName{Namespace: ns, Name: sharedLease}
	a := &acts{}
	startOurs := func() *windlass {
		cfg := confined(ns)
		cfg.Installations.Lease.Name = sharedLease
		w := &windlass{}
		w.start(t, cfg, user, faults.Intercept(func(_ string, do func() error) error {
			a.did(t.Context(), c, lease, "windlass")
			return do()
		}))
		<-w.filled
		return w
	}
	holder := func() string { return holderOf(t.Context(), c, lease) }
	// touch edits the installation until the one who acts last is who is expected.
	touch := func(name types.NamespacedName, want []string) {
		t.Helper()
		n := 0
		eventually(t, func(context.Context) (string, error) {
			n++
			edit(t, c, name, func(mm *v1beta1.Mattermost) {
				mm.Spec.ServiceAnnotations = map[string]string{"example.com/touch": fmt.Sprint(n)}
			})
			if got := a.turns(); !slices.Equal(got, want) {
				return fmt.Sprintf("turns %v, have %v", want, got), nil
			}
			return "", nil
		})
	}

	stopUpstream := startUpstream(t, ns, a)
	name := create(t, c, ns, "chat")
	touch(name, []string{"upstream"})
	theirs := holder()

	ours := startOurs()
	touch(name, []string{"upstream"})
	if got := holder(); got != theirs {
		t.Fatalf("the lease went from %s to %s while its holder lives", theirs, got)
	}

	stopUpstream()
	touch(name, []string{"upstream", "windlass"})
	mine := holder()
	if mine == theirs || mine == "" {
		t.Fatalf("Windlass acts while %q holds the lease", mine)
	}

	startUpstream(t, ns, a)
	touch(name, []string{"upstream", "windlass"})
	if got := holder(); got != mine {
		t.Fatalf("the lease went from %s to %s while its holder lives", mine, got)
	}

	ours.stop(t)
	touch(name, []string{"upstream", "windlass", "upstream"})
	// Each of the three turns was under one holder, and no two under the same.
	if holders := a.holders(); len(holders) != 3 || slices.Contains(holders, "") {
		t.Errorf("the lease was held by %q during the turns %q", holders, a.turns())
	}
}

// TestProcess checks what a process serves beside its work.
func TestProcess(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	cfg := confined(ns)
	cfg.Health.Address, cfg.Metrics.Address, cfg.Pprof.Address = freeAddress(t), freeAddress(t), freeAddress(t)
	w := &windlass{}
	w.start(t, cfg, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	<-w.filled
	// The certificate is made anew at each start and signed by nobody.
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	get := func(url string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := insecure.Do(request)
		if err != nil {
			return 0
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	for url, want := range map[string]int{
		"http://" + cfg.Health.Address + "/healthz":      http.StatusOK,
		"http://" + cfg.Health.Address + "/readyz":       http.StatusOK,
		"http://" + cfg.Pprof.Address + "/debug/pprof/":  http.StatusOK,
		"https://" + cfg.Metrics.Address + "/metrics":    http.StatusUnauthorized,
		"http://" + cfg.Metrics.Address + "/metrics":     http.StatusBadRequest, // TLS only.
		"http://" + cfg.Health.Address + "/debug/pprof/": http.StatusNotFound,
	} {
		eventually(t, func(context.Context) (string, error) {
			if got := get(url); got != want {
				return fmt.Sprintf("%s to answer %d instead of %d", url, want, got), nil
			}
			return "", nil
		})
	}
	lease := types.NamespacedName(cfg.Installations.Lease)
	held := func() string { return holderOf(t.Context(), windlasstest.Client(t), lease) }
	eventually(t, func(context.Context) (string, error) {
		if held() == "" {
			return "the lease to be held", nil
		}
		return "", nil
	})
	w.stop(t)
	if identity := held(); identity != "" {
		t.Errorf("the process ended and %s still holds the lease", identity)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
