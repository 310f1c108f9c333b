package traffic

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/internal/traffic"
	"windlass.dev/test/windlasstest"
)

// TestUpgradeUnderTraffic: Windlass upgrades an installation of the standard shape, with
// its migration, while people use it: no request is lost, and no websocket breaks.
func TestUpgradeUnderTraffic(t *testing.T) { //nolint:paralleltest // It measures.
	ctx, ns, c := t.Context(), clustertest.Namespace(t), startWindlass(t)
	host := ns + ".example.com"
	makeSecrets(t, c, ns)
	mm := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "chat"}, Spec: v1beta1.MattermostSpec{
		Version: "10.5.2", Ingress: &v1beta1.Ingress{Enabled: true, Host: host},
		Database:      v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
		FileStore:     v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: "chat", Secret: "fs"}},
		MattermostEnv: []corev1.EnvVar{{Name: "STANDIN_BOOT", Value: "2s"}, {Name: "STANDIN_MIGRATE", Value: "2s"}},
	}}
	if err := c.Create(ctx, mm); err != nil {
		t.Fatal(err)
	}
	isStable := func(version string) func() bool {
		return func() bool {
			err := c.Get(ctx, ctrlclient.ObjectKeyFromObject(mm), mm)
			return err == nil && mm.Status.State == v1beta1.Stable && mm.Status.ObservedGeneration == mm.Generation && mm.Status.Version == version
		}
	}
	waitFor(t, "the installation to be stable", isStable("10.5.2"))
	plan := traffic.Plan{
		URL: "http://" + host + "/api/v4/system/ping", Connect: clustertest.Gateway(t), FreshEvery: 5, By: []string{"X-Windlass-Version"},
		Rate: rate, WebSockets: webSockets, WebSocketURL: "ws://" + host + "/api/v4/websocket",
	}
	calm(t, plan)
	plan.Duration = 45 * time.Second // Twice a start, and the drain of the last pod.
	before := mm.DeepCopy()
	mm.Spec.Version = "10.6.0"
	if err := c.Patch(ctx, mm, ctrlclient.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	report, err := traffic.Run(ctx, plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v %+v %v", report.Requests, *report.WebSockets, report.By)
	if report.Lost() != 0 {
		t.Errorf("%d were lost: %+v %+v", report.Lost(), report.Requests, *report.WebSockets)
	}
	if report.By["10.5.2"] == 0 || report.By["10.6.0"] == 0 || report.WebSockets.Closed == 0 {
		t.Errorf("it was not upgraded while it was used: %v %+v", report.By, *report.WebSockets)
	}
	waitFor(t, "the upgrade to be over", isStable("10.6.0"))
}

// startWindlass runs Windlass with the permissions that it ships with.
func startWindlass(t *testing.T) ctrlclient.WithWatch {
	t.Helper()
	runWindlass(t, config.Default(), manager.Hooks{})
	return windlasstest.Client(t)
}

// runWindlass runs it until the test is over, or the returned function is called.
func runWindlass(t *testing.T, cfg config.Configuration, hooks manager.Hooks) (stop func()) {
	t.Helper()
	return windlasstest.Run(t, cfg, clustertest.Config(t, install.Identity), hooks)
}
