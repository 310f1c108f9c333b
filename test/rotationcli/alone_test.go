package rotationcli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/test/windlasstest"
)

const aloneManifest = `apiVersion: nodes.windlass.dev/v1alpha1
kind: NodeGroup
metadata: {name: alone}
spec:
  provider:
    simulated: {name: alone}
  strategy: {minReadySeconds: 0, drain: {podSurge: Never}}
`

// TestStandalone needs nothing in the cluster, is interrupted while a budget holds its
// nodes, refuses to run beside another, and goes on by --resume.
func TestStandalone(t *testing.T) {
	c := windlasstest.Client(t)
	bare := false
	if _, err := c.RESTMapper().RESTMapping(v1alpha1.GroupVersion.WithKind("NodeRotation").GroupKind()); err != nil {
		if !meta.IsNoMatchError(err) {
			t.Fatal(err)
		}
		bare = true
		want(t, 1, []string{"windlass install"}, "plan")
		want(t, 1, []string{"windlass install"}, "status")
	}
	machines(t, c, "alone", 2)
	budget := hold(t, c, "alone")
	file := filepath.Join(t.TempDir(), "groups.yaml")
	if err := os.WriteFile(file, []byte(aloneManifest), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	type answer struct {
		code          int
		out, problems string
	}
	ended := make(chan answer, 1)
	go func() {
		code, out, problems := command(ctx, "start", "--standalone", "--groups", file, "--name", "alone", "--max-surge", "1")
		if ctx.Err() == nil {
			t.Errorf("the run was not to end: exit code %d\n%s%s", code, out, problems)
		}
		ended <- answer{code, out, problems}
	}()
	t.Cleanup(interrupt)
	c = awaitKinds(t)
	eventually(t, c, "alone", func(run *v1alpha1.NodeRotation) bool {
		return conditionOf(run, v1alpha1.ConditionBlocked) == metav1.ConditionTrue
	})
	want(t, 1, []string{"is held by", "leave --standalone out"}, "start", "--standalone", "alone")
	interrupt()
	first := <-ended
	if first.code != 1 || !strings.Contains(first.problems, "--standalone --resume alone") || !strings.Contains(first.problems, "rotate abort alone") {
		t.Fatalf("after Ctrl-C: exit code %d\n%s%s", first.code, first.out, first.problems)
	}
	if bare && !strings.Contains(first.problems, "CustomResourceDefinition/noderotations.nodes.windlass.dev configured") {
		t.Errorf("it does not say what it applied: %s", first.problems)
	}
	if err := c.Delete(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	want(t, 0, []string{"NodeRotation/alone Succeeded"}, "start", "--standalone", "--resume", "alone")
	if n := outdated(t, c, "alone"); n != 0 {
		t.Errorf("%d nodes are outdated still", n)
	}
}

// awaitKinds is a client that knows the kinds, once another process has defined them.
func awaitKinds(t *testing.T) (c client.WithWatch) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, deadline, true, func(context.Context) (bool, error) {
		c = windlasstest.Client(t) // A new one asks anew which kinds there are.
		_, err := c.RESTMapper().RESTMapping(v1alpha1.GroupVersion.WithKind("NodeRotation").GroupKind())
		if meta.IsNoMatchError(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
