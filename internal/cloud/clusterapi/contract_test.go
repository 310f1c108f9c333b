package clusterapi_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/cloudtest"
	"windlass.dev/internal/devcluster/clustertest"
)

// TestContract is on the API server, but for the crashes: what they try is in which order the
// provider writes, and there are too many.
func TestContract(t *testing.T) {
	t.Parallel()
	cloudtest.Suite(t, func(t *testing.T) *cloudtest.Harness {
		f := inMemory()
		if !strings.Contains(t.Name(), "crash") {
			f = newFixture(t)
		}
		f.makeGroup(t, "apps", "apps-2", "my-apps")
		return &cloudtest.Harness{
			Provider: f.provider, Group: f.ref("apps"), Missing: f.ref("app"), Others: []v1alpha1.Provider{f.ref("apps-2"), f.ref("my-apps")},
			Change:  func(t *testing.T) { f.change(t, "apps-v2", "ami-2") },
			SetSize: func(t *testing.T, size int32) { f.edit(t, int64(size), "spec", "replicas") },
			Wait:    f.settle, Crash: f.crashing.Crash,
		}
	})
}

func (f *fixture) describe(t *testing.T) cloud.Group {
	t.Helper()
	g, err := f.provider.Describe(t.Context(), f.ref("apps"))
	f.do(t, err)
	return g
}

func (f *fixture) prepare(t *testing.T, target cloud.Target) {
	t.Helper()
	f.do(t, f.provider.Prepare(t.Context(), f.ref("apps"), theGuard, target))
}

var theGuard = cloud.Guard{Run: "apps-1", Suspend: []string{"RollingUpdate"}, Settings: cloud.Settings{Size: cloudtest.Size, Max: cloudtest.Size}}

// newRun is a group whose machines are all outdated, and that a run has.
func newRun(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.makeGroup(t, "apps")
	f.change(t, "apps-v2", "ami-2")
	f.prepare(t, cloud.Target{})
	f.settle(t)
	return f
}

// TestHeld: what somebody else deletes during a run is shown, and there until the run ends it.
func TestHeld(t *testing.T) {
	t.Parallel()
	f := newRun(t)
	victim := f.describe(t).Machines[1].ID
	f.do(t, f.Client.Delete(t.Context(), f.get(t, "Machine", victim)))
	f.settle(t)
	for _, m := range f.describe(t).Machines {
		if m.State != cloud.Running || m.Interrupted != (m.ID == victim) || m.Image != "ami-1" {
			t.Errorf("the machine is %+v", m)
		}
	}
	f.do(t, f.provider.End(t.Context(), f.ref("apps"), victim, cloudtest.Size))
	f.settle(t)
	images := map[string]int{}
	for _, m := range f.describe(t).Machines {
		images[m.Image]++
		if m.ID == victim {
			t.Error("the machine is still there")
		}
	}
	if images["ami-1"] != 2 || images["ami-2"] != 1 {
		t.Errorf("the machines run %v", images)
	}
}

// TestTwoHeld: the group gets smaller by the machine that is ended, and not by another one
// that is held as well.
func TestTwoHeld(t *testing.T) {
	t.Parallel()
	f := newRun(t)
	machines := f.describe(t).Machines
	ended, held, stays := machines[0].ID, machines[1].ID, machines[2].ID
	f.do(t, f.Client.Delete(t.Context(), f.get(t, "Machine", held)))
	f.settle(t)
	f.do(t, f.provider.End(t.Context(), f.ref("apps"), ended, cloudtest.Size-1))
	f.settle(t)
	if got := f.describe(t).Machines; len(got) != 2 || got[0].ID != held || !got[0].Interrupted || got[1].ID != stays {
		t.Errorf("the machines are %+v, want %s held and %s", got, held, stays)
	}
	f.do(t, f.provider.End(t.Context(), f.ref("apps"), held, cloudtest.Size-1))
	f.settle(t)
	images := map[string]string{}
	for _, m := range f.describe(t).Machines {
		images[m.ID] = m.Image
	}
	if len(images) != 2 || images[stays] != "ami-1" || images[held] != "" {
		t.Errorf("the machines run %v", images)
	}
}

// TestOnTheirWay: machines count that Cluster API has promised and not made yet, and only those.
func TestOnTheirWay(t *testing.T) {
	t.Parallel()
	for name, promised := range map[string]bool{"promised": true, "not promised": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.makeGroup(t, "apps")
			f.edit(t, int64(cloudtest.Size+1), "spec", "replicas")
			if promised {
				set := f.get(t, "MachineSet", "apps-0")
				f.do(t, unstructured.SetNestedField(set.Object, int64(cloudtest.Size+1), "spec", "replicas"))
				f.do(t, f.Client.Update(t.Context(), set))
			}
			err := f.provider.Resize(t.Context(), f.ref("apps"), cloudtest.Size)
			if errors.Is(err, cloud.ErrConflict) != promised || !promised && err != nil {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestSmaller ends one after the other, none of them of the oldest MachineSet, which Cluster
// API takes from, and all others stay.
func TestSmaller(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeGroup(t, "apps")
	f.prepare(t, cloud.Target{})
	f.change(t, "apps-v2", "ami-2")
	f.do(t, f.provider.Resize(t.Context(), f.ref("apps"), cloudtest.Size+2))
	f.settle(t)
	f.change(t, "apps-v3", "ami-3")
	f.prepare(t, cloud.Target{})
	f.settle(t)
	size := int32(cloudtest.Size + 2)
	for _, m := range f.describe(t).Machines {
		if m.Image != "ami-2" {
			continue
		}
		size--
		f.do(t, f.provider.End(t.Context(), f.ref("apps"), m.ID, size))
		f.settle(t)
	}
	g := f.describe(t)
	if g.Size != cloudtest.Size || len(g.Machines) != cloudtest.Size {
		t.Errorf("the group wants %d and has %d machines", g.Size, len(g.Machines))
	}
	for _, m := range g.Machines {
		if m.Image != "ami-1" || m.Interrupted {
			t.Errorf("the machine is %+v", m)
		}
	}
}

// TestBack goes back to a template of which no MachineSet is left.
func TestBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeGroup(t, "apps")
	former := f.describe(t).Revision
	f.change(t, "apps-v2", "ami-2")
	f.prepare(t, cloud.Target{})
	f.settle(t)
	for _, m := range f.describe(t).Machines {
		f.do(t, f.provider.End(t.Context(), f.ref("apps"), m.ID, cloudtest.Size))
		f.settle(t)
	}
	f.do(t, f.Client.Delete(t.Context(), f.get(t, "MachineSet", "apps-0")))
	f.prepare(t, cloud.Target{Template: former.Template})
	if now := f.describe(t).Revision; now.Template != former.Template || !slices.Equal(now.Images, []string{"ami-1"}) {
		t.Errorf("the revision is %+v, want %+v", now, former)
	}
	err := f.provider.Prepare(t.Context(), f.ref("apps"), theGuard, cloud.Target{Template: "another/boot@v1"})
	if !errors.Is(err, cloud.ErrInvalid) {
		t.Errorf("a template that nobody knows: %v", err)
	}
	f.do(t, f.provider.Restore(t.Context(), f.ref("apps"), theGuard, theGuard.Settings, cloud.Target{}))
	machines, err := f.List(t.Context(), "Machine")
	f.do(t, err)
	for _, m := range machines {
		for key := range m.GetAnnotations() {
			t.Errorf("machine %s has the annotation %s", m.GetName(), key)
		}
	}
	if strategy, _, _ := unstructured.NestedString(f.get(t, "MachineDeployment", "apps").Object, "spec", "rollout", "strategy", "type"); strategy != "RollingUpdate" {
		t.Errorf("the strategy is %s", strategy)
	}
}

// TestPaused: what its owner has stopped is left alone.
func TestPaused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeGroup(t, "apps")
	f.edit(t, "true", "metadata", "annotations", "cluster.x-k8s.io/paused")
	g := f.describe(t)
	if len(g.Problems) != 1 {
		t.Errorf("the problems are %v", g.Problems)
	}
	if err := f.provider.End(t.Context(), f.ref("apps"), g.Machines[0].ID, cloudtest.Size); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("the end of a machine: %v", err)
	}
}

// TestManagementCluster: the group is in the cluster of a kubeconfig, which may run nothing here.
func TestManagementCluster(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeGroup(t, "apps")
	own, err := os.ReadFile(clustertest.Kubeconfig())
	f.do(t, err)
	for name, c := range map[string]struct {
		kubeconfig string
		want       error
	}{
		"good": {string(own), nil},
		"none": {"", cloud.ErrCredentials},
		"program": {`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],"users":[{"name":"u","user":{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"true","interactiveMode":"Never"}}}]}`, cloud.ErrCredentials},
		"file": {`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],"users":[{"name":"u","user":{"tokenFile":"/dev/null"}}]}`, cloud.ErrCredentials},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.Namespace, Name: name}, Data: map[string][]byte{"kubeconfig": []byte(c.kubeconfig)}}
		f.do(t, f.Client.Create(t.Context(), secret))
		ref := f.ref("apps")
		ref.ClusterAPI.Kubeconfig = &v1alpha1.SecretReference{Namespace: f.Namespace, Name: name}
		g, err := f.provider.Describe(t.Context(), ref)
		if !errors.Is(err, c.want) || c.want == nil && len(g.Machines) != cloudtest.Size {
			t.Errorf("%s: %d machines, %v", name, len(g.Machines), err)
		}
	}
}
