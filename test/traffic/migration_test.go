package traffic

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/installation/handovertest"
	"windlass.dev/internal/traffic"
)

var migrated = flag.Int("installations", 4, "how many are migrated at a time under traffic")

// What each of the installations gets while they are migrated.
const (
	migratedRate      = 50 // requests a second
	migratedWebSocket = 5
)

// afterwards is how long an installation is used once all is over.
const afterwards = 5 * time.Second

// renewalDeadline bounds the replacement of all pods: each has to start, and the one that
// goes leaves the Service 15 s before.
const renewalDeadline = 5 * time.Minute

// TestMigrationUnderTraffic makes Mattermosts of ClusterInstallations that are used, and then
// replaces their pods: no request is lost. Until the pods are replaced they are the same
// ones, with the same websockets.
func TestMigrationUnderTraffic(t *testing.T) { //nolint:paralleltest // It measures.
	c := startWindlass(t)
	var all []usedInstallation
	for range *migrated {
		all = append(all, deployOlder(t, c))
	}
	for _, u := range all {
		waitFor(t, "the installation to be stable", func() bool { return u.stableOlder(t) })
	}
	for _, u := range all {
		calm(t, u.plan(0))
	}

	in := useAll(t, all, nil, func(u usedInstallation) {
		u.migrate(t, true)
	}, func(u usedInstallation) {
		waitFor(t, "the migration to end", func() bool { return u.isMattermost(t) })
	})
	for i, report := range in {
		t.Logf("in place: %+v %+v", report.Requests, *report.WebSockets)
		if report.Lost() != 0 || report.WebSockets.Closed != 0 || report.WebSockets.Opened != migratedWebSocket {
			t.Errorf("installation %d noticed its migration: %+v %+v", i, report.Requests, *report.WebSockets)
		}
		if len(report.By) != 2 {
			t.Errorf("the pods %v answered, want two", report.By)
		}
	}

	out := useAll(t, all, handovertest.Pods, func(u usedInstallation) {
		u.recreate(t)
	}, func(u usedInstallation) {
		waitUpTo(t, renewalDeadline, "the pods to be replaced", func() bool { return u.isRenewed(t) })
	})
	for i, report := range out {
		t.Logf("other pods: %+v %+v", report.Requests, *report.WebSockets)
		if report.Lost() != 0 {
			t.Errorf("installation %d lost %d: %+v %+v", i, report.Lost(), report.Requests, *report.WebSockets)
		}
		if len(report.By) != 4 {
			t.Errorf("the pods %v answered, want two and two others", report.By)
		}
	}
}

// usedInstallation is an installation in a namespace of its own.
type usedInstallation struct {
	client ctrlclient.WithWatch
	name   types.NamespacedName
	host   string
	// gateway is where requests go in.
	gateway string
}

func deployOlder(t *testing.T, c ctrlclient.WithWatch) usedInstallation {
	t.Helper()
	ns := clustertest.Namespace(t)
	u := usedInstallation{client: c, name: types.NamespacedName{Namespace: ns, Name: "chat"}, host: ns + ".example.com", gateway: clustertest.Gateway(t)}
	makeSecrets(t, c, ns)
	ci := &v1alpha1.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "chat"}, Spec: v1alpha1.ClusterInstallationSpec{
		Version: "10.5.2", IngressName: u.host, Replicas: 2,
		Database:      v1alpha1.Database{Secret: "db"},
		Minio:         v1alpha1.Minio{ExternalURL: "s3.example.com", ExternalBucket: "chat", Secret: "fs"},
		MattermostEnv: []corev1.EnvVar{{Name: "STANDIN_BOOT", Value: "2s"}},
	}}
	if err := c.Create(t.Context(), ci); err != nil {
		t.Fatal(err)
	}
	return u
}

// makeSecrets makes those with which an installation opens its stores.
func makeSecrets(t *testing.T, c ctrlclient.Client, namespace string) {
	t.Helper()
	for name, data := range map[string]map[string]string{
		"db": {"DB_CONNECTION_STRING": "postgres://example:example@db.example.com/mm", "DB_CONNECTION_CHECK_URL": "postgres://db.example.com/mm"},
		"fs": {"accesskey": "example", "secretkey": "example"},
	} {
		if err := c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: data}); err != nil {
			t.Fatal(err)
		}
	}
}

func (u usedInstallation) get(t *testing.T, object ctrlclient.Object) {
	t.Helper()
	if err := u.client.Get(t.Context(), u.name, object); err != nil {
		t.Fatal(err)
	}
}

func (u usedInstallation) mattermost(t *testing.T) *v1beta1.Mattermost {
	t.Helper()
	mm := &v1beta1.Mattermost{}
	u.get(t, mm)
	return mm
}

func (u usedInstallation) stableOlder(t *testing.T) bool {
	t.Helper()
	var ci v1alpha1.ClusterInstallation
	u.get(t, &ci)
	return ci.Status.State == v1alpha1.Stable && ci.Status.ObservedGeneration == ci.Generation
}

// isMattermost reports whether only the Mattermost is left, and is stable.
func (u usedInstallation) isMattermost(t *testing.T) bool {
	t.Helper()
	err := u.client.Get(t.Context(), u.name, &v1alpha1.ClusterInstallation{})
	if err == nil {
		return false
	}
	if !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	mm := u.mattermost(t)
	return mm.Status.State == v1beta1.Stable && mm.Status.MigratedFrom != nil && !mm.Status.MigratedFrom.Held
}

func (u usedInstallation) plan(duration time.Duration) traffic.Plan {
	return traffic.Plan{
		URL: "http://" + u.host + "/api/v4/system/ping", Connect: u.gateway, FreshEvery: 5, By: []string{"X-Windlass-Pod"}, Duration: duration,
		Rate: migratedRate, WebSockets: migratedWebSocket, WebSocketURL: "ws://" + u.host + "/api/v4/websocket",
	}
}

// migrate asks for a migration, or for the way back.
func (u usedInstallation) migrate(t *testing.T, yes bool) {
	t.Helper()
	u.change(t, &v1alpha1.ClusterInstallation{}, fmt.Sprintf(`{"spec":{"migrate":%t}}`, yes))
}

// recreate has the pods of a Mattermost replaced by ones with the labels of one.
func (u usedInstallation) recreate(t *testing.T) {
	t.Helper()
	u.change(t, &v1beta1.Mattermost{}, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1beta1.MigrationModeAnnotation, v1beta1.MigrationRecreate))
}

func (u usedInstallation) change(t *testing.T, object ctrlclient.Object, patch string) {
	t.Helper()
	object.SetNamespace(u.name.Namespace)
	object.SetName(u.name.Name)
	if err := u.client.Patch(t.Context(), object, ctrlclient.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// isRenewed reports whether all pods are those of a Mattermost that never was anything else.
func (u usedInstallation) isRenewed(t *testing.T) bool {
	t.Helper()
	mm := u.mattermost(t)
	return mm.Status.Lineage == "" && mm.Status.Renewal == nil && mm.Status.State == v1beta1.Stable
}

// use sends requests to an installation until it is told to end, and wants its objects to
// stay the ones they are, but those that may change, and to have an owner throughout.
func (u usedInstallation) use(t *testing.T, mayChange []string) (end func() *traffic.Report) {
	t.Helper()
	watched, err := handovertest.Watch(t.Context(), u.client, u.name, mayChange, u.served)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var report *traffic.Report
	var using errgroup.Group
	using.Go(func() (err error) {
		report, err = traffic.Run(ctx, u.plan(time.Hour))
		return err
	})
	return func() *traffic.Report {
		t.Helper()
		time.AfterFunc(afterwards, stop) // What goes wrong at the end is seen after it.
		if err := errors.Join(using.Wait(), watched()); err != nil {
			t.Errorf("%s: %v", u.name, err)
		}
		if least := int(migratedRate * afterwards.Seconds()); report != nil && report.Requests.Sent < least {
			t.Errorf("%s: %d requests were sent, want at least %d", u.name, report.Requests.Sent, least)
		}
		return report
	}
}

// useAll uses all installations while something is done to each, until that is over.
func useAll(t *testing.T, all []usedInstallation, mayChange []string, do, over func(usedInstallation)) []*traffic.Report {
	t.Helper()
	var ends []func() *traffic.Report
	for _, u := range all {
		ends = append(ends, u.use(t, mayChange))
	}
	for _, u := range all {
		do(u)
	}
	for _, u := range all {
		over(u)
	}
	reports := make([]*traffic.Report, len(all))
	var ending sync.WaitGroup
	for i, end := range ends {
		ending.Go(func() { reports[i] = end() })
	}
	ending.Wait()
	for _, u := range all {
		if err := handovertest.Audit(t.Context(), u.client, u.mattermost(t)); err != nil {
			t.Error(err)
		}
	}
	return reports
}

// served wants both pods of a Deployment, or one that is replaced, to be there.
func (u usedInstallation) served(ctx context.Context) error {
	var sets appsv1.ReplicaSetList
	if err := u.client.List(ctx, &sets, ctrlclient.InNamespace(u.name.Namespace)); err != nil {
		return err
	}
	ready := int32(0)
	for _, set := range sets.Items {
		ready += set.Status.ReadyReplicas
	}
	if ready < 2 {
		return fmt.Errorf("%d of 2 pods are ready", ready)
	}
	return nil
}
