package installations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/manager"
	"windlass.dev/test/faults"
	"windlass.dev/test/windlasstest"
)

// scenario is a change to an installation, with how it ends.
type scenario struct {
	change func(t *testing.T, c client.Client, name types.NamespacedName)
	// stable says that the change is made to an installation that is stable.
	stable bool
	// writes is how many there are at least; the crash is tried after each.
	writes int
	// end waits for the end, if that is not to be stable.
	end func(t *testing.T, c client.Client, name types.NamespacedName)
}

var scenarios = map[string]scenario{
	"create": {
		change: func(t *testing.T, c client.Client, name types.NamespacedName) {
			create(t, c, name.Namespace, name.Name)
		},
		writes: 11,
	},
	"upgrade": {
		change: func(t *testing.T, c client.Client, name types.NamespacedName) {
			edit(t, c, name, func(mm *v1beta1.Mattermost) {
				mm.Spec.Version = "10.6.0"
				mm.Spec.Ingress.Enabled = false
			})
		},
		stable: true,
		writes: 6,
	},
	"hibernate": {
		change: func(t *testing.T, c client.Client, name types.NamespacedName) {
			edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Replicas = new(int32(0)) })
		},
		stable: true,
		writes: 3,
	},
	"upgrade after a backup": {
		change: func(t *testing.T, c client.Client, name types.NamespacedName) {
			upgradeAfter(t, c, name, backup(name.Namespace))
		},
		stable: true,
		writes: 7,
	},
	"failed backup": {
		change: func(t *testing.T, c client.Client, name types.NamespacedName) {
			failing := backup(name.Namespace)
			failing.Spec.JobTemplate.Spec.BackoffLimit = new(int32(0))
			failing.Spec.JobTemplate.Spec.Template.Annotations = map[string]string{"simulated.windlass.dev/outcome": "fail"}
			upgradeAfter(t, c, name, failing)
		},
		stable: true,
		writes: 2,
		end: func(t *testing.T, c client.Client, name types.NamespacedName) {
			says(t, c, name, v1beta1.ConditionStalled, v1beta1.ReasonPreUpgradeFailed)
		},
	},
	"managed": {
		change: func(t *testing.T, c client.Client, name types.NamespacedName) {
			managed(t, c, name.Namespace, name.Name, "")
		},
		writes: 15,
	},
}

// TestCrashAfterEveryWrite kills the controller after each of its writes and
// starts another one: the end is the same as without a crash.
func TestCrashAfterEveryWrite(t *testing.T) {
	t.Parallel()
	for title, s := range scenarios {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			want := playWithCrash(t, s, 0)
			for n := 1; n <= s.writes; n++ {
				t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
					t.Parallel()
					if diff := cmp.Diff(want, playWithCrash(t, s, n)); diff != "" {
						t.Errorf("end state (-without +with crash):\n%s", diff)
					}
				})
			}
		})
	}
}

// playWithCrash returns the end state of a scenario in which the controller is
// killed after the n-th write; 0 is never.
func playWithCrash(t *testing.T, s scenario, n int) map[string]any {
	t.Helper()
	ns, c := namespace(t), windlasstest.Client(t)
	user := grant(t, ns, shipped(t).Rules)
	name := types.NamespacedName{Namespace: ns, Name: "chat"}
	if s.stable {
		w := start(t, ns, user, manager.Hooks{})
		create(t, c, ns, name.Name)
		stable(t, c, name)
		w.stop(t)
	}
	if n > 0 {
		crash(t, ns, user, n, func() { s.change(t, c, name) })
		start(t, ns, user, manager.Hooks{})
	} else {
		start(t, ns, user, manager.Hooks{})
		s.change(t, c, name)
	}
	if s.end != nil {
		s.end(t, c, name)
	} else {
		stable(t, c, name)
	}
	return world(t, c, name)
}

// upgradeAfter asks for another version, with a backup before.
func upgradeAfter(t *testing.T, c client.Client, name types.NamespacedName, before *batchv1.CronJob) {
	t.Helper()
	if err := c.Create(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.Version = "10.6.0"
		mm.Spec.UpdateJob = &v1beta1.UpdateJob{PreUpgrade: &v1beta1.PreUpgrade{CronJob: before.Name}}
	})
}

// crash runs the controller until it was killed after the n-th write that
// follows on a change.
func crash(t *testing.T, namespace, user string, n int, change func()) {
	t.Helper()
	hooks, killed := faults.KillAfter(n)
	w := start(t, namespace, user, hooks)
	change()
	eventually(t, func(context.Context) (string, error) {
		select {
		case <-killed:
			return "", nil
		default:
			return fmt.Sprintf("write %d", n), nil
		}
	})
	w.stop(t)
}

// TestCrashThenTakenBack kills the controller after it has applied an edit and before that
// is on record. The edit is taken back before the next one starts: what is on record is
// what is wanted, and not what is there.
func TestCrashThenTakenBack(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	user := grant(t, ns, shipped(t).Rules)
	is := func(value string) func(mm *v1beta1.Mattermost) {
		return func(mm *v1beta1.Mattermost) { mm.Spec.Ingress.Annotations = map[string]string{"example.com/is": value} }
	}
	w := start(t, ns, user, manager.Hooks{})
	name := create(t, c, ns, "chat")
	edit(t, c, name, is("a"))
	stable(t, c, name)
	w.stop(t)
	// The API server tells by the second when an object was changed.
	made := time.Now().Unix()
	eventually(t, func(context.Context) (string, error) {
		if time.Now().Unix() == made {
			return "the next second", nil
		}
		return "", nil
	})
	crash(t, ns, user, 1, func() { edit(t, c, name, is("b")) })
	if now := get(t, c, name, &networkingv1.Ingress{}).Annotations["example.com/is"]; now != "b" {
		t.Fatalf("the controller was killed before it carried out the edit: it is %q", now)
	}
	edit(t, c, name, is("a"))
	start(t, ns, user, manager.Hooks{})
	stable(t, c, name)
	if now := get(t, c, name, &networkingv1.Ingress{}).Annotations["example.com/is"]; now != "a" {
		t.Errorf("it is %q, and is to be %q", now, "a")
	}
}

// TestCrashThenDelete kills the controller after each write of an installation's
// creation. The resource is deleted before or after the next one starts: nothing
// is left.
func TestCrashThenDelete(t *testing.T) {
	t.Parallel()
	for n := 1; n <= scenarios["create"].writes; n++ {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("after write %d, late %v", n, late), func(t *testing.T) {
				t.Parallel()
				ns, c := namespace(t), windlasstest.Client(t)
				user, name := grant(t, ns, shipped(t).Rules), types.NamespacedName{Namespace: ns, Name: "chat"}
				crash(t, ns, user, n, func() { scenarios["create"].change(t, c, name) })
				if late {
					w := start(t, ns, user, manager.Hooks{})
					<-w.filled
				}
				if err := c.Delete(t.Context(), &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name.Name}}); err != nil {
					t.Fatal(err)
				}
				if !late {
					start(t, ns, user, manager.Hooks{})
				}
				eventually(t, func(ctx context.Context) (string, error) { return nothingLeft(ctx, c, name) })
			})
		}
	}
}

// TestCrashThenDeleteData kills the controller after each write of the creation of
// an installation whose data is to go with it, and deletes it at once: no data and
// no credential is left.
func TestCrashThenDeleteData(t *testing.T) {
	t.Parallel()
	for n := 2; n <= 6; n++ {
		t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			user, name := grant(t, ns, shipped(t).Rules), types.NamespacedName{Namespace: ns, Name: "chat"}
			crash(t, ns, user, n, func() { managed(t, c, ns, name.Name, "Delete") })
			remove(t, c, name)
			gone(t, c, types.NamespacedName{Namespace: ns, Name: mysqlOfChat}, mysqlCluster())
			gone(t, c, sibling(name, "-minio"), minioInstance())
			for _, suffix := range []string{"-minio", "-mysql-root-password"} {
				gone(t, c, sibling(name, suffix), &corev1.Secret{})
			}
		})
	}
}

// TestCrashWhileTakingOver kills the controller after each write with which it takes
// over an installation from the Mattermost Operator: the pods stay, and in the end
// everything is Windlass'.
func TestCrashWhileTakingOver(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 14; n++ {
		t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			left := leave(t, c, ns, "mysql-secret-preset")
			before := workload(t, c, ns)
			user := grant(t, ns, shipped(t).Rules)
			crash(t, ns, user, n, func() {})
			start(t, ns, user, manager.Hooks{})
			taken(t, c, left)
			stable(t, c, types.NamespacedName{Namespace: ns, Name: "mm"})
			if after := workload(t, c, ns); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// nothingLeft returns a part of an installation that is still there.
func nothingLeft(ctx context.Context, c client.Client, name types.NamespacedName) (awaited string, err error) {
	for _, part := range append(parts(), &v1beta1.Mattermost{}) {
		if err := c.Get(ctx, name, part); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("%T to be gone", part), err
		}
	}
	if err := c.Get(ctx, sibling(name, "-headless"), &corev1.Service{}); !apierrors.IsNotFound(err) {
		return "the headless Service to be gone", err
	}
	return "", nil
}

// world is what a scenario leaves behind, without what differs from one
// namespace or second to the next.
func world(t *testing.T, c client.Client, name types.NamespacedName) map[string]any {
	t.Helper()
	all := map[string]any{}
	objects := append(parts(), &v1beta1.Mattermost{})
	for _, object := range objects {
		err := c.Get(t.Context(), name, object)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		metadata := map[string]any{"labels": object.GetLabels(), "annotations": object.GetAnnotations(), "owners": len(object.GetOwnerReferences())}
		delete(metadata["annotations"].(map[string]string), "deployment.kubernetes.io/revision")
		content["metadata"] = metadata
		if mm, ok := object.(*v1beta1.Mattermost); ok {
			content["status"] = map[string]any{"state": mm.Status.State, "version": mm.Status.Version, "endpoint": mm.Status.Endpoint, "inventory": kinds(mm)}
		} else {
			delete(content, "status")
		}
		unstructured.RemoveNestedField(content, "subjects") // They name the namespace.
		if service, ok := object.(*corev1.Service); ok && service.Spec.ClusterIP != corev1.ClusterIPNone {
			unstructured.RemoveNestedField(content, "spec", "clusterIP")
			unstructured.RemoveNestedField(content, "spec", "clusterIPs")
		}
		all[fmt.Sprintf("%T", object)] = content
	}
	for what, object := range map[types.NamespacedName]*unstructured.Unstructured{
		{Namespace: name.Namespace, Name: mysqlOfChat}: mysqlCluster(), sibling(name, "-minio"): minioInstance(),
	} {
		err := c.Get(t.Context(), what, object)
		if client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		if err == nil {
			credentials(t, c, name)
			all[object.GetKind()] = map[string]any{"spec": object.Object["spec"], "owners": len(object.GetOwnerReferences())}
		}
	}
	// Addresses hold the namespace.
	content, err := json.Marshal(all)
	if err == nil {
		content = bytes.ReplaceAll(content, []byte(name.Namespace), []byte("namespace"))
		all = map[string]any{}
		err = json.Unmarshal(content, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func kinds(mm *v1beta1.Mattermost) string {
	var all []string
	for _, item := range mm.Status.Inventory {
		if item.Kind != "Job" { // It is removed in its own time.
			all = append(all, item.Kind)
		}
	}
	return strings.Join(all, " ")
}

// passing answers some of the writes with an error that passes: the first of each
// kind never arrives, and of the third the answer is lost.
func passing(fault error) manager.Hooks {
	var mu sync.Mutex
	seen := map[string]int{}
	return faults.Intercept(func(write string, do func() error) error {
		mu.Lock()
		seen[write]++
		turn := seen[write]
		mu.Unlock()
		switch turn {
		case 1:
			return fault
		case 3:
			return errors.Join(fault, do())
		default:
			return do()
		}
	})
}

// stale keeps the cache at what it showed before each of the controller's own
// writes of the resource, for its next looks. Acting on that would be refused as
// a conflict, which fails the test.
func stale(t *testing.T) manager.Hooks {
	reader := &staleReader{seen: map[string]client.Object{}}
	hooks := faults.Intercept(func(write string, do func() error) error {
		err := do()
		if err == nil && (write == "update" || write == "apply status") {
			reader.hold()
		}
		if apierrors.IsConflict(err) {
			t.Errorf("acted on a cache that was behind: %v", err)
		}
		return err
	})
	hooks.WrapReader = func(r client.Reader) client.Reader { reader.Reader = r; return reader }
	return hooks
}

// TestPassingFaults lets an installation be created, changed and upgraded under
// faults that pass: the end is the same as without them.
func TestPassingFaults(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Resource: "things"}
	want := play(t, manager.Hooks{})
	for title, hooks := range map[string]manager.Hooks{
		"conflict":    passing(apierrors.NewConflict(resource, "x", errors.New("changed meanwhile"))),
		"throttling":  passing(apierrors.NewTooManyRequests("slow down", 1)),
		"time-out":    passing(apierrors.NewTimeoutError("too slow", 0)),
		"connection":  passing(errors.New("connection reset by peer")),
		"stale cache": stale(t),
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(want, play(t, hooks)); diff != "" {
				t.Errorf("end state (-without +with faults):\n%s", diff)
			}
		})
	}
}

// play creates an installation, takes its route away, upgrades it, and returns
// what is there in the end.
func play(t *testing.T, hooks manager.Hooks) map[string]any {
	t.Helper()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), hooks)
	name := create(t, c, ns, "chat")
	stable(t, c, name)
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Ingress.Enabled = false })
	stable(t, c, name)
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0" })
	stable(t, c, name)
	return world(t, c, name)
}

// staleReader answers some Gets of a resource with what it answered before.
type staleReader struct {
	client.Reader
	mu   sync.Mutex
	seen map[string]client.Object
	left int
}

func (s *staleReader) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = 4
}

func (s *staleReader) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	if err := s.Reader.Get(ctx, key, object, opts...); err != nil {
		return err
	}
	mm, ok := object.(*v1beta1.Mattermost)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, known := s.seen[key.String()]; known && s.left > 0 {
		s.left--
		old.(*v1beta1.Mattermost).DeepCopyInto(mm)
		return nil
	}
	s.seen[key.String()] = mm.DeepCopy()
	return nil
}
