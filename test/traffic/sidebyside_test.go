package traffic

import (
	"context"
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/traffic"
)

// TestClustersSideBySide updates an application in each of two clusters at once. Each
// serves its own pods only, and nothing is lost.
func TestClustersSideBySide(t *testing.T) { //nolint:paralleltest // It measures.
	gateway := clustertest.Gateway(t)
	ctx := context.WithoutCancel(t.Context())
	other, err := devcluster.Start(ctx, devcluster.Options{Dir: t.TempDir(), ProcessNodes: 2, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	c, err := kubernetes.NewForConfig(other.Config())
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]struct {
		app
		gateway string
	}{
		"the one":   {app{client: client(t), namespace: clustertest.Namespace(t), from: "1", to: "2"}, gateway},
		"the other": {app{client: c, namespace: metav1.NamespaceDefault, from: "3", to: "4"}, other.Gateway()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at.deploy(t, true)
			plan := at.plan(100, 10)
			plan.Connect = at.gateway
			calm(t, plan)
			plan.Duration = duration / 2
			updated := make(chan struct{})
			go func() {
				defer close(updated)
				at.update(t)
			}()
			report, err := traffic.Run(t.Context(), plan)
			<-updated
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v %+v", report.Requests, *report.WebSockets)
			if report.Lost() != 0 {
				t.Errorf("%d were lost: %+v %+v", report.Lost(), report.Requests, *report.WebSockets)
			}
			if by := slices.Sorted(maps.Keys(report.By)); !slices.Equal(by, []string{at.from, at.to}) {
				t.Errorf("answers came from the versions %v, want %s and %s", by, at.from, at.to)
			}
		})
	}
}
