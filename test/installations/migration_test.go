package installations

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation/handovertest"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// migrations are ClusterInstallations of all kinds that can become a Mattermost.
var migrations = map[string]func(*v1alpha1.ClusterInstallation){
	"external stores": func(*v1alpha1.ClusterInstallation) {},
	"managed stores": func(ci *v1alpha1.ClusterInstallation) {
		ci.Spec.Database, ci.Spec.Minio = v1alpha1.Database{}, v1alpha1.Minio{}
	},
	"managed stores that go with it": func(ci *v1alpha1.ClusterInstallation) {
		ci.Spec.Database, ci.Spec.Minio = v1alpha1.Database{}, v1alpha1.Minio{}
		ci.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: "Delete"}
	},
	"hibernated": func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Replicas = -1 },
	"full": func(ci *v1alpha1.ClusterInstallation) {
		ci.Labels = map[string]string{"team": "a", "app.kubernetes.io/instance": "chat"}
		ci.Annotations = map[string]string{"own": "a"}
		ci.Spec.UseIngressTLS = true
		ci.Spec.IngressAnnotations = map[string]string{"nginx.ingress.kubernetes.io/configuration-snippet": "return 410;"}
		ci.Spec.ResourceLabels = map[string]string{"team": "a"}
		ci.Spec.MattermostEnv = []corev1.EnvVar{{Name: "A", Value: "b"}}
		ci.Spec.LivenessProbe.TimeoutSeconds = 20
		ci.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "linux"}
	},
}

// older makes a ClusterInstallation of one of the kinds, which is stable.
func older(t *testing.T, c client.Client, namespace, kind string) types.NamespacedName {
	t.Helper()
	secrets(t, c, namespace)
	ci := &v1alpha1.ClusterInstallation{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "chat"},
		Spec: v1alpha1.ClusterInstallationSpec{
			Version: "10.5.2", IngressName: "chat.example.com",
			Database: v1alpha1.Database{Secret: "db"},
			Minio:    v1alpha1.Minio{ExternalURL: "s3.example.com", ExternalBucket: "chat", Secret: "fs"},
		},
	}
	migrations[kind](ci)
	if err := c.Create(t.Context(), ci); err != nil {
		t.Fatal(err)
	}
	stableOlder(t, c, client.ObjectKeyFromObject(ci))
	return client.ObjectKeyFromObject(ci)
}

func migrate(t *testing.T, c client.Client, name types.NamespacedName, to bool) {
	t.Helper()
	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.Migrate = to })
}

// annotateOlder sets an annotation.
func annotateOlder(t *testing.T, c client.Client, name types.NamespacedName, key, value string) {
	t.Helper()
	ci := get(t, c, name, &v1alpha1.ClusterInstallation{})
	before := ci.DeepCopy()
	metav1.SetMetaDataAnnotation(&ci.ObjectMeta, key, value)
	if err := c.Patch(t.Context(), ci, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// migrated waits until there is only the Mattermost, which is stable.
func migrated(t *testing.T, c client.Client, name types.NamespacedName) *v1beta1.Mattermost {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		var ci v1alpha1.ClusterInstallation
		err := c.Get(ctx, name, &ci)
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		var mm v1beta1.Mattermost
		_ = c.Get(ctx, name, &mm)
		return fmt.Sprintf("the ClusterInstallation to be gone; its migration is %+v, the Mattermost's status %+v", ci.Status.Migration, mm.Status), err
	})
	mm := stable(t, c, name)
	says(t, c, name, v1beta1.ConditionMigrated, v1beta1.ReasonMigrated)
	return mm
}

// inPhase waits for a phase of the migration.
func inPhase(t *testing.T, c client.Client, name types.NamespacedName, phase v1alpha1.MigrationPhase) *v1alpha1.ClusterInstallation {
	t.Helper()
	ci := &v1alpha1.ClusterInstallation{}
	eventually(t, func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, name, ci); err != nil {
			return "", err
		}
		if ci.Status.Migration == nil || ci.Status.Migration.Phase != phase {
			return fmt.Sprintf("the phase %s; the migration is %+v", phase, ci.Status.Migration), nil
		}
		return "", nil
	})
	return ci
}

// alwaysThere watches, until the returned function is called, that every object that
// there is now stays the same one, and is never owned by a resource that is not there.
// That holds for pods too: none is restarted.
func alwaysThere(t *testing.T, c client.WithWatch, name types.NamespacedName) (end func(*testing.T)) {
	t.Helper()
	return watched(t, c, name, nil, nil)
}

func watched(t *testing.T, c client.WithWatch, name types.NamespacedName, mayChange []string, also func(context.Context) error) (end func(*testing.T)) {
	t.Helper()
	stop, err := handovertest.Watch(t.Context(), c, name, mayChange, also)
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) {
		t.Helper()
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// ownedBy wants all that has an owner to have this one.
func ownedBy(t *testing.T, c client.Client, owner client.Object) {
	t.Helper()
	if err := handovertest.Audit(t.Context(), c, owner); err != nil {
		t.Error(err)
	}
}

// TestMigration: a ClusterInstallation becomes a Mattermost, and not one object or pod is
// made anew or left without an owner on the way.
func TestMigration(t *testing.T) {
	t.Parallel()
	for kind := range migrations {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			user := grant(t, ns, shipped(t).Rules)
			w := start(t, ns, user, manager.Hooks{})
			name := older(t, c, ns, kind)
			there := alwaysThere(t, c, name)
			template := get(t, c, name, &appsv1.Deployment{}).Spec.Template
			ingress := get(t, c, name, &networkingv1.Ingress{})
			from := get(t, c, name, &v1alpha1.ClusterInstallation{}).UID
			migrate(t, c, name, true)
			mm := migrated(t, c, name)
			w.stop(t)
			writesNothing(t, ns, user, func() {
				again := start(t, ns, user, manager.Hooks{})
				<-again.filled
				stable(t, c, name)
				again.stop(t)
			})
			there(t)
			ownedBy(t, c, mm)
			if diff := cmp.Diff(template, get(t, c, name, &appsv1.Deployment{}).Spec.Template); diff != "" {
				t.Errorf("pods (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(ingress.Annotations, get(t, c, name, &networkingv1.Ingress{}).Annotations); diff != "" {
				t.Errorf("annotations of the Ingress (-before +after):\n%s", diff)
			}
			if mm.Status.MigratedFrom == nil || mm.Status.MigratedFrom.UID != from || mm.Status.Lineage != v1beta1.LineageV1alpha1 || mm.Status.Shape != v1beta1.ShapeStrict {
				t.Errorf("status: %+v", mm.Status)
			}
			if kind == "full" && (mm.Labels["team"] != "a" || mm.Labels["app.kubernetes.io/instance"] != "" || len(mm.Status.MigratedFrom.Lossy) != 1) {
				t.Errorf("labels %v, lossy %v", mm.Labels, mm.Status.MigratedFrom.Lossy)
			}

			start(t, ns, user, manager.Hooks{})
			edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0" })
			if mm := stable(t, c, name); mm.Status.Version != "10.6.0" {
				t.Errorf("status after an upgrade: %+v", mm.Status)
			}
		})
	}
}

// TestMigrationOfWhatIsEdited: the Mattermost is given another version at the last moment,
// between the decision that the ClusterInstallation can go and its deletion. It goes when the
// Mattermost is stable with that.
func TestMigrationOfWhatIsEdited(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	name := types.NamespacedName{Namespace: ns, Name: "chat"}
	var edited, early atomic.Bool
	hooks := manager.Hooks{WrapClient: func(wrapped client.WithWatch) client.WithWatch {
		return interceptor.NewClient(wrapped, interceptor.Funcs{
			// Nothing but the audit before the deletion lists past the cache.
			List: func(ctx context.Context, inner client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				var mm v1beta1.Mattermost
				if c.Get(ctx, name, &mm) == nil && edited.CompareAndSwap(false, true) {
					mm.Spec.Version = "10.6.0"
					if err := c.Update(ctx, &mm); err != nil {
						return err
					}
				}
				return inner.List(ctx, list, opts...)
			},
			Delete: func(ctx context.Context, inner client.WithWatch, object client.Object, opts ...client.DeleteOption) error {
				if object.GetObjectKind().GroupVersionKind().Kind == "ClusterInstallation" {
					var mm v1beta1.Mattermost
					if err := c.Get(ctx, name, &mm); err != nil || mm.Status.State != v1beta1.Stable || mm.Status.Version != "10.6.0" {
						early.Store(true)
					}
				}
				return inner.Delete(ctx, object, opts...)
			},
		})
	}}
	start(t, ns, grant(t, ns, shipped(t).Rules), hooks)
	older(t, c, ns, "external stores")
	migrate(t, c, name, true)
	if mm := migrated(t, c, name); mm.Status.Version != "10.6.0" {
		t.Errorf("status: %+v", mm.Status)
	}
	if !edited.Load() || early.Load() {
		t.Errorf("the Mattermost was edited: %v; the ClusterInstallation went before it was stable: %v", edited.Load(), early.Load())
	}
}

// writesOfMigration is how many there are at least.
const writesOfMigration = 15

// TestMigrationCrashAndRevert kills the controllers after each write of a migration. The
// next ones finish it, or, told so, take it back and begin anew: always with the same
// objects and pods, and to the same end.
func TestMigrationCrashAndRevert(t *testing.T) {
	t.Parallel()
	for n := 1; n <= writesOfMigration; n++ {
		for _, back := range []bool{false, true} {
			kind := slices.Sorted(func(yield func(string) bool) {
				for kind := range migrations {
					if kind != "hibernated" && !yield(kind) {
						return
					}
				}
			})[n%4]
			t.Run(fmt.Sprintf("%s, after write %d, back %v", kind, n, back), func(t *testing.T) {
				t.Parallel()
				ns, c := namespace(t), windlasstest.Client(t)
				user := grant(t, ns, shipped(t).Rules)
				w := start(t, ns, user, manager.Hooks{})
				name := older(t, c, ns, kind)
				w.stop(t)
				there := alwaysThere(t, c, name)
				crash(t, ns, user, n, func() { migrate(t, c, name, true) })
				if back {
					migrate(t, c, name, false)
					start(t, ns, user, manager.Hooks{})
					eventually(t, func(ctx context.Context) (string, error) {
						var mm v1beta1.Mattermost
						if err := c.Get(ctx, name, &mm); !apierrors.IsNotFound(err) {
							return "the Mattermost to be gone", err
						}
						ci := get(t, c, name, &v1alpha1.ClusterInstallation{})
						if m := ci.Status.Migration; m != nil && m.Phase != v1alpha1.MigrationReverted || ci.Status.ObservedGeneration != ci.Generation {
							return fmt.Sprintf("the migration to be reverted: %+v", m), nil
						}
						return "", nil
					})
					ownedBy(t, c, stableOlder(t, c, name))
					migrate(t, c, name, true)
				} else {
					start(t, ns, user, manager.Hooks{})
				}
				ownedBy(t, c, migrated(t, c, name))
				there(t)
			})
		}
	}
}

// TestMigrationByHand holds the end until a person has looked, goes back, comes again, and
// is finished.
func TestMigrationByHand(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := older(t, c, ns, "managed stores")
	there := alwaysThere(t, c, name)
	annotateOlder(t, c, name, v1alpha1.FinalizeAnnotation, "Manual")
	migrate(t, c, name, true)
	ci := inPhase(t, c, name, v1alpha1.MigrationAwaitingFinalization)
	ownedBy(t, c, stable(t, c, name))
	if ci.Status.State != v1alpha1.Stable {
		t.Errorf("status: %+v", ci.Status)
	}
	// It has no effect any more, and says so.
	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.IngressName = "other.example.com" })
	eventually(t, func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, name, ci); err != nil {
			return "", err
		}
		if !strings.Contains(ci.Status.Migration.Status, "has no effect") {
			return fmt.Sprintf("a word about the change: %+v", ci.Status.Migration), nil
		}
		return "", nil
	})
	if host := get(t, c, name, &networkingv1.Ingress{}).Spec.Rules[0].Host; host != "chat.example.com" {
		t.Errorf("the Ingress has the host %s", host)
	}
	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) {
		spec.IngressName, spec.Migrate = "chat.example.com", false
	})
	inPhase(t, c, name, v1alpha1.MigrationReverted)
	ownedBy(t, c, stableOlder(t, c, name))
	gone(t, c, name, &v1beta1.Mattermost{})
	migrate(t, c, name, true)
	inPhase(t, c, name, v1alpha1.MigrationAwaitingFinalization)
	annotateOlder(t, c, name, v1alpha1.FinalizeAnnotation, "Now")
	ownedBy(t, c, migrated(t, c, name))
	there(t)
}

// TestSuperseded: a ClusterInstallation that is made anew after its migration changes
// nothing, until it is told to take the installation back.
func TestSuperseded(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := older(t, c, ns, "managed stores")
	there := alwaysThere(t, c, name)
	before := get(t, c, name, &v1alpha1.ClusterInstallation{})
	migrate(t, c, name, true)
	mm := migrated(t, c, name)
	again := &v1alpha1.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name.Name}, Spec: before.Spec}
	if err := c.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	saysOlder(t, c, name, v1beta1.ConditionStalled, v1beta1.ReasonSuperseded)
	ownedBy(t, c, mm)
	annotateOlder(t, c, name, v1alpha1.RevertAnnotation, "true")
	inPhase(t, c, name, v1alpha1.MigrationReverted)
	ownedBy(t, c, stableOlder(t, c, name))
	gone(t, c, name, &v1beta1.Mattermost{})
	there(t)
}

// TestRefusedMigration goes on as it is.
func TestRefusedMigration(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := older(t, c, ns, "external stores")
	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { blueGreen("blue")(spec); spec.Migrate = true })
	ci := inPhase(t, c, name, v1alpha1.MigrationRefused)
	if !strings.HasPrefix(ci.Status.Migration.Status, "Migration to Mattermost cannot be performed safely: ") {
		t.Errorf("migration: %+v", ci.Status.Migration)
	}
	if ci = stableOlder(t, c, name); ci.Status.BlueName != "chat-blue" {
		t.Errorf("status: %+v", ci.Status)
	}
	editOlder(t, c, name, noBlueGreen)
	migrated(t, c, name)
}

// TestDeletedDuringMigration: who is left carries the installation out, with its data.
func TestDeletedDuringMigration(t *testing.T) {
	t.Parallel()
	for title, resource := range map[string]client.Object{"Mattermost": &v1beta1.Mattermost{}, "ClusterInstallation": &v1alpha1.ClusterInstallation{}} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
			name := older(t, c, ns, "managed stores")
			keys := credentials(t, c, name)
			annotateOlder(t, c, name, v1alpha1.FinalizeAnnotation, "Manual")
			migrate(t, c, name, true)
			inPhase(t, c, name, v1alpha1.MigrationAwaitingFinalization)
			object := get(t, c, name, resource)
			if err := c.Delete(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			if title == "Mattermost" {
				inPhase(t, c, name, v1alpha1.MigrationInterrupted)
				ownedBy(t, c, stableOlder(t, c, name))
			} else {
				ownedBy(t, c, migrated(t, c, name))
			}
			if now := credentials(t, c, name); now != keys {
				t.Error("the credentials were made anew")
			}
		})
	}
}

// autoscaled has an autoscaler set the replicas of a Deployment.
func autoscaled(t *testing.T, c client.Client, name types.NamespacedName, replicas int32) *appsv1.Deployment {
	t.Helper()
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: "scale"}}
	hpa.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name.Name}
	hpa.Spec.MaxReplicas = 5
	if err := c.Create(t.Context(), hpa); err != nil {
		t.Fatal(err)
	}
	// From here on the replicas are not ours.
	eventually(t, func(ctx context.Context) (string, error) {
		for _, entry := range get(t, c, name, &appsv1.Deployment{}).ManagedFields {
			if entry.Manager == "windlass-installations" && strings.Contains(entry.FieldsV1.GetRawString(), "f:replicas") {
				return "the replicas to be given up", nil
			}
		}
		return "", nil
	})
	d := get(t, c, name, &appsv1.Deployment{})
	before := d.DeepCopy()
	d.Spec.Replicas = &replicas
	if err := c.Patch(t.Context(), d, client.MergeFrom(before), client.FieldOwner("autoscaler")); err != nil {
		t.Fatal(err)
	}
	return scaled(t, c, name, replicas)
}

// scaled waits until a Deployment has so many pods, all of its present kind.
func scaled(t *testing.T, c client.Client, name types.NamespacedName, replicas int32) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{}
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, name, d)
		if d.Status.ObservedGeneration != d.Generation || d.Status.AvailableReplicas != replicas || d.Status.UpdatedReplicas != replicas || d.Status.Replicas != replicas {
			return fmt.Sprintf("%d pods: %+v", replicas, d.Status), err
		}
		return "", err
	})
	return d
}

// TestMigrationKeepsWhatOthersSet: the replicas are an autoscaler's, and a part of the
// pods is somebody else's, as when a webhook adds it.
func TestMigrationKeepsWhatOthersSet(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := older(t, c, ns, "external stores")
	d := autoscaled(t, c, name, 3)
	before := d.DeepCopy()
	d.Spec.Template.Annotations = map[string]string{"example.com/injected": "true"}
	if err := c.Patch(t.Context(), d, client.MergeFrom(before), client.FieldOwner("webhook")); err != nil {
		t.Fatal(err)
	}
	scaled(t, c, name, 3)
	stableOlder(t, c, name)
	there := alwaysThere(t, c, name)
	migrate(t, c, name, true)
	ownedBy(t, c, migrated(t, c, name))
	there(t)
	now := get(t, c, name, &appsv1.Deployment{})
	if *now.Spec.Replicas != 3 || now.Spec.Template.Annotations["example.com/injected"] != "true" {
		t.Errorf("replicas %d, annotations %v", *now.Spec.Replicas, now.Spec.Template.Annotations)
	}
}

// TestSecretLostDuringMigration: it says what is missing, and goes on when that is back.
func TestSecretLostDuringMigration(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	user := grant(t, ns, shipped(t).Rules)
	w := start(t, ns, user, manager.Hooks{})
	name := older(t, c, ns, "external stores")
	w.stop(t)
	crash(t, ns, user, 8, func() { migrate(t, c, name, true) })
	lost := get(t, c, types.NamespacedName{Namespace: ns, Name: "db"}, &corev1.Secret{})
	if err := c.Delete(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	start(t, ns, user, manager.Hooks{})
	eventually(t, func(ctx context.Context) (string, error) {
		ci := get(t, c, name, &v1alpha1.ClusterInstallation{})
		if m := ci.Status.Migration; m == nil || !strings.Contains(m.Status+m.Error, `Secret "db"`) {
			return fmt.Sprintf("a word about the Secret: %+v", m), nil
		}
		return "", nil
	})
	secrets(t, c, ns)
	ownedBy(t, c, migrated(t, c, name))
}

// TestRevertDuringAnUpgrade takes back an installation whose Mattermost is being upgraded, at
// each of its steps: before the migration of its database, during it, and while pods of both
// versions run.
func TestRevertDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	for moment, when := range map[string]func(context.Context, client.Client, types.NamespacedName) (bool, error){
		"at once": func(context.Context, client.Client, types.NamespacedName) (bool, error) { return true, nil },
		"the job is there": func(ctx context.Context, c client.Client, name types.NamespacedName) (bool, error) {
			var jobs batchv1.JobList
			err := c.List(ctx, &jobs, client.InNamespace(name.Namespace))
			return len(jobs.Items) > 0, err
		},
		"the pods are told": func(ctx context.Context, c client.Client, name types.NamespacedName) (bool, error) {
			var d appsv1.Deployment
			err := c.Get(ctx, name, &d)
			return err == nil && strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, ":10.6.0"), err
		},
	} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
			name := older(t, c, ns, "external stores")
			annotateOlder(t, c, name, v1alpha1.FinalizeAnnotation, "Manual")
			migrate(t, c, name, true)
			inPhase(t, c, name, v1alpha1.MigrationAwaitingFinalization)
			edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0" })
			eventually(t, func(ctx context.Context) (string, error) {
				if there, err := when(ctx, c, name); err != nil || !there {
					return moment, err
				}
				return "", nil
			})
			migrate(t, c, name, false)
			inPhase(t, c, name, v1alpha1.MigrationReverted)
			gone(t, c, name, &v1beta1.Mattermost{})
			ci := stableOlder(t, c, name)
			ownedBy(t, c, ci)
			if ci.Status.Version != "10.5.2" {
				t.Errorf("it runs %s", ci.Status.Version)
			}
		})
	}
}
