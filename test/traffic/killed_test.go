package traffic

import (
	"flag"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/installation/handovertest"
	"windlass.dev/internal/manager"
	"windlass.dev/test/faults"
	"windlass.dev/test/windlasstest"
)

var (
	exhaustive = flag.Bool("exhaustive", false, "kill what is tested under traffic after each single write")
	first      = flag.Int("first", 1, "the first write after which pods' replacement is killed, to go on with one that was interrupted")
)

// confined is a Windlass for one installation, so that there can be several.
func (u usedInstallation) confined() config.Configuration {
	cfg := config.Default()
	cfg.Namespaces = []string{u.name.Namespace}
	cfg.Leases.Disabled = true
	return cfg
}

// survives kills Windlass after its n-th write since something began, and has another one
// bring it to its end, while the installation is used. It says whether there were as many.
func (u usedInstallation) survives(t *testing.T, n int, mayChange []string, begin func(), over func() bool) (more bool) {
	t.Helper()
	end := u.use(t, mayChange)
	hooks, killed := faults.KillAfter(n)
	stop := runWindlass(t, u.confined(), hooks)
	begin()
	waitUpTo(t, renewalDeadline, fmt.Sprintf("write %d, or the end", n), func() bool {
		select {
		case <-killed:
			more = true
			return true
		default:
			return over()
		}
	})
	stop()
	stop = runWindlass(t, u.confined(), manager.Hooks{})
	waitUpTo(t, renewalDeadline, "the end", over)
	report := end()
	stop()
	what := "killed after"
	if !more {
		what = "ended before"
	}
	t.Logf("%s, %s write %d: %+v %+v", u.name.Namespace, what, n, report.Requests, *report.WebSockets)
	if report.Lost() != 0 || mayChange == nil && (report.WebSockets.Closed != 0 || report.WebSockets.Opened != migratedWebSocket) {
		t.Errorf("%d were lost: %+v %+v", report.Lost(), report.Requests, *report.WebSockets)
	}
	return more
}

// TestKilledInPlaceUnderTraffic migrates an installation that is used and takes it back,
// again and again, each time killed after one more write: no request is lost, no websocket
// notices, and the pods stay.
func TestKilledInPlaceUnderTraffic(t *testing.T) {
	needsTime(t)
	u := deployStable(t)
	for n, more := 1, true; more && !t.Failed(); n++ {
		forth := u.survives(t, n, nil, func() {
			u.change(t, &v1alpha1.ClusterInstallation{}, `{"metadata":{"annotations":{"`+v1alpha1.FinalizeAnnotation+`":"Manual"}},"spec":{"migrate":true}}`)
		}, func() bool {
			var ci v1alpha1.ClusterInstallation
			u.get(t, &ci)
			return ci.Status.Migration != nil && ci.Status.Migration.Phase == v1alpha1.MigrationAwaitingFinalization
		})
		u.owned(t, u.mattermost(t))
		back := u.survives(t, n, nil, func() { u.migrate(t, false) }, func() bool { return u.isReverted(t) })
		var ci v1alpha1.ClusterInstallation
		u.get(t, &ci)
		u.owned(t, &ci)
		more = forth || back
	}
	// The last writes are those that let go of the ClusterInstallation: one for each death.
	for n, more := 1, true; more && !t.Failed(); n++ {
		u := deployStable(t)
		stop := runWindlass(t, u.confined(), manager.Hooks{})
		u.change(t, &v1alpha1.ClusterInstallation{}, `{"metadata":{"annotations":{"`+v1alpha1.FinalizeAnnotation+`":"Manual"}},"spec":{"migrate":true}}`)
		waitFor(t, "the hand-over", func() bool {
			var ci v1alpha1.ClusterInstallation
			u.get(t, &ci)
			return ci.Status.Migration != nil && ci.Status.Migration.Phase == v1alpha1.MigrationAwaitingFinalization
		})
		stop()
		more = u.survives(t, n, nil, func() {
			u.change(t, &v1alpha1.ClusterInstallation{}, `{"metadata":{"annotations":{"`+v1alpha1.FinalizeAnnotation+`":"Now"}}}`)
		}, func() bool { return u.isMattermost(t) })
		u.owned(t, u.mattermost(t))
	}
}

// TestKilledRecreateUnderTraffic has the pods of migrated installations replaced, each by a
// Windlass that is killed after one more write: no request is lost.
func TestKilledRecreateUnderTraffic(t *testing.T) {
	needsTime(t)
	const atATime = 3
	for n, more := *first, true; more && !t.Failed(); n += atATime {
		t.Run(fmt.Sprintf("from write %d", n), func(t *testing.T) {
			results := make([]bool, atATime)
			t.Cleanup(func() {
				for _, killed := range results {
					more = more && killed
				}
			})
			for i := range atATime {
				t.Run(fmt.Sprintf("write %d", n+i), func(t *testing.T) {
					t.Parallel()
					u := deployStable(t)
					stop := runWindlass(t, u.confined(), manager.Hooks{})
					u.migrate(t, true)
					waitFor(t, "the migration to end", func() bool { return u.isMattermost(t) })
					stop()
					results[i] = u.survives(t, n+i, handovertest.Pods, func() { u.recreate(t) }, func() bool { return u.isRenewed(t) })
					u.owned(t, u.mattermost(t))
				})
			}
		})
	}
}

func needsTime(t *testing.T) {
	t.Helper()
	if !*exhaustive {
		t.Skip("it takes more than half an hour: go test ./test/traffic -v -run Killed -timeout 1h -args -exhaustive")
	}
}

// deployStable makes a ClusterInstallation that is stable.
func deployStable(t *testing.T) usedInstallation {
	t.Helper()
	c := windlasstest.Client(t)
	u := deployOlder(t, c)
	stop := runWindlass(t, u.confined(), manager.Hooks{})
	waitFor(t, "the installation to be stable", func() bool { return u.stableOlder(t) })
	stop()
	calm(t, u.plan(0))
	return u
}

func (u usedInstallation) isReverted(t *testing.T) bool {
	t.Helper()
	err := u.client.Get(t.Context(), u.name, &v1beta1.Mattermost{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	var ci v1alpha1.ClusterInstallation
	u.get(t, &ci)
	return err != nil && u.stableOlder(t) && ci.Status.Migration != nil && ci.Status.Migration.Phase == v1alpha1.MigrationReverted
}

// owned wants all that has an owner to have this one.
func (u usedInstallation) owned(t *testing.T, owner metav1.Object) {
	t.Helper()
	if err := handovertest.Audit(t.Context(), u.client, owner.(ctrlclient.Object)); err != nil {
		t.Error(err)
	}
}
