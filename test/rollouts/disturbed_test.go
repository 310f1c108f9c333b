package rollouts

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/fleet/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// deny has the API server refuse a version of one installation, until allow is called.
func deny(t *testing.T, c client.Client, namespace, name, version string) (allow func()) {
	t.Helper()
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	policy.Spec.MatchConstraints = &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{v1beta1.GroupVersion.Group}, APIVersions: []string{"*"}, Resources: []string{"mattermosts"}},
	}}}}
	policy.Spec.Validations = []admissionv1.Validation{{
		Expression: fmt.Sprintf("object.metadata.name != %q || object.spec.version != %q", name, version), Message: "not this one",
	}}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	binding.Spec = admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: namespace, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}},
	}
	for _, object := range []client.Object{policy, binding} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	remove := sync.OnceFunc(func() {
		for _, object := range []client.Object{binding, policy} {
			if err := c.Delete(context.WithoutCancel(t.Context()), object); err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(remove)
	// A policy takes a moment until it is in force, and so does its end.
	probe := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	refuses := func(want bool) {
		t.Helper()
		err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
			patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"version":%q}}`, version))
			err := c.Patch(ctx, probe.DeepCopy(), patch, client.DryRunAll)
			return (err != nil) == want, nil
		})
		if err != nil {
			t.Fatal("the policy does not get into force: ", err)
		}
	}
	refuses(true)
	return func() { remove(); refuses(false) }
}

// TestARefusedInstallation waits and holds up none but the end of its wave.
func TestARefusedInstallation(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 3)
	allow := deny(t, c, namespace, name(0), "10.6.0")
	plan := want(t, 3, "Refused: "+namespace+"/mm-00: ", "plan", "-n", namespace, "--version", "10.6.0", "--env", "OURS=1", "--check")
	for _, text := range []string{"not this one", "version: 10.5.2 -> 10.6.0", "env/OURS: none -> 1"} {
		if !strings.Contains(plan, text) {
			t.Errorf("the plan does not say %q:\n%s", text, plan)
		}
	}
	r := rollout(t, c, "refused", namespace, v1alpha1.InstallationChange{Version: "10.6.0"}, v1alpha1.RolloutStrategy{MaxInFlight: number(1)})
	for i := 1; i < 3; i++ {
		await(t, c, namespace, name(i), "updated", runs("10.6.0"))
	}
	reaches(t, c, r, "waiting for somebody", func(st *v1alpha1.InstallationRolloutStatus) bool {
		return st.Phase == v1alpha1.Rolling && st.Updated == 2 && len(st.Waits) == 1 && st.Waits[0].Subject == "Mattermost/"+namespace+"/"+name(0) &&
			st.Waits[0].Reason == v1alpha1.ReasonStepFailed && strings.Contains(st.Waits[0].Message, "not this one")
	})
	want(t, 3, "Needs you: StepFailed", "status", "refused")
	allow()
	edit(t, c, r, func() { r.Spec.Strategy.FailureThreshold = number(1) }) // So that it is tried again at once.
	reaches(t, c, r, "done", phase(v1alpha1.Succeeded))
	await(t, c, namespace, name(0), "updated", runs("10.6.0"))
}

// TestGatesWindowsAndNotifications: outside its windows nothing is taken, a gate that fails
// holds or rolls back, and somebody is told.
func TestGatesWindowsAndNotifications(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 2)
	var healthy atomic.Bool
	var mu sync.Mutex
	var told []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			if !healthy.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		mu.Lock()
		defer mu.Unlock()
		text, _ := io.ReadAll(r.Body) // What is missing is missed below.
		told = append(told, string(text))
	}))
	t.Cleanup(server.Close)
	hears := func(what string) {
		t.Helper()
		err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(context.Context) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(strings.Join(told, "\n"), what), nil
		})
		if err != nil {
			t.Errorf("nobody was told of %s: %v", what, told)
		}
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "hook"}, StringData: map[string]string{"url": server.URL}}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	tomorrow := time.Now().UTC().Add(25 * time.Hour)
	r := rollout(t, c, "gated", namespace, v1alpha1.InstallationChange{Version: "10.6.0"}, v1alpha1.RolloutStrategy{
		MaxInFlight:   number(1),
		Windows:       []run.Window{{Schedule: fmt.Sprintf("0 %d %d %d *", tomorrow.Hour(), tomorrow.Day(), tomorrow.Month()), DurationSeconds: 60}},
		Gates:         []run.Gate{{Name: "health", HTTP: &run.HTTPGate{URL: server.URL}, IntervalSeconds: 1, TimeoutSeconds: 5, OnFailure: run.PauseOnFailure}},
		Notifications: []run.Notification{{CloudEvents: &run.WebhookNotification{URL: run.SecretKey{Namespace: namespace, Name: "hook", Key: "url"}}}},
	})
	waits := func(reason string) func(*v1alpha1.InstallationRolloutStatus) bool {
		return func(st *v1alpha1.InstallationRolloutStatus) bool {
			return len(st.Waits) == 1 && st.Waits[0].Reason == reason
		}
	}
	reaches(t, c, r, "outside its window", waits(v1alpha1.ReasonOutsideWindow))
	edit(t, c, r, func() { r.Spec.Strategy.Windows = nil })
	reaches(t, c, r, "held by its gate", waits(v1alpha1.ReasonGateFailed))
	hears(string(run.NotifyGateFailed))
	for i := range 2 {
		if mm := await(t, c, namespace, name(i), "stable", stable); mm.Spec.Version != "10.5.2" {
			t.Errorf("%s was changed before the gate passed", mm.Name)
		}
	}
	healthy.Store(true)
	reaches(t, c, r, "done", phase(v1alpha1.Succeeded))
	hears(string(run.NotifySucceeded))

	healthy.Store(true)
	back := rollout(t, c, "gated-back", namespace, v1alpha1.InstallationChange{Version: "10.7.0"}, v1alpha1.RolloutStrategy{
		Waves: []v1alpha1.InstallationWave{{Size: number(1), SoakSeconds: 3600}},
		Gates: []run.Gate{{Name: "health", HTTP: &run.HTTPGate{URL: server.URL}, IntervalSeconds: 1, TimeoutSeconds: 5, OnFailure: run.RollBackOnFailure}},
	})
	reaches(t, c, back, "soaking", phase(v1alpha1.Soaking))
	healthy.Store(false)
	reaches(t, c, back, "rolled back", phase(v1alpha1.RolledBack))
	for i := range 2 {
		await(t, c, namespace, name(i), "as it was", runs("10.6.0"))
	}
}

// TestTheFleetChangesMeanwhile: installations come, go and are edited, the change is revised,
// and the roll-out is deleted in the middle.
func TestTheFleetChangesMeanwhile(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 5)
	for i, ring := range map[int]string{1: "canary", 2: "canary", 3: "early"} {
		mm := await(t, c, namespace, name(i), "stable", stable)
		edit(t, c, mm, func() { mm.Labels["ring"] = ring })
	}
	in := func(rings ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "ring", Operator: metav1.LabelSelectorOpIn, Values: rings}}}
	}
	r := rollout(t, c, "meanwhile", namespace, v1alpha1.InstallationChange{Version: "10.6.0"}, v1alpha1.RolloutStrategy{
		// The first selects nothing, and the third overlaps with the second.
		Waves: []v1alpha1.InstallationWave{{Selector: in("none"), SoakSeconds: 3600}, {Selector: in("canary"), SoakSeconds: 3600}, {Selector: in("canary", "early"), SoakSeconds: 3600}},
	})
	reaches(t, c, r, "watching the canaries", func(st *v1alpha1.InstallationRolloutStatus) bool {
		return st.Phase == v1alpha1.Soaking && st.Wave == 1 && st.Updated == 2
	})
	first := r.Status.Revision.Sequence

	// One of the wave goes, another one joins it, and one is edited by its user.
	gone := await(t, c, namespace, name(1), "updated", runs("10.6.0"))
	if err := c.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	joins := await(t, c, namespace, name(3), "stable", stable)
	edit(t, c, joins, func() { joins.Labels["ring"] = "canary" })
	await(t, c, namespace, name(3), "updated", runs("10.6.0"))
	theirs := await(t, c, namespace, name(2), "updated", runs("10.6.0"))
	edit(t, c, theirs, func() { theirs.Spec.Version = "10.5.9" })
	await(t, c, namespace, name(2), "as its user wants", runs("10.5.9"))

	// A revision begins anew, and supersedes the former one.
	edit(t, c, r, func() { r.Spec.Change.Version = "10.6.1" })
	reaches(t, c, r, "watching the canaries again", func(st *v1alpha1.InstallationRolloutStatus) bool {
		return st.Phase == v1alpha1.Soaking && st.Wave == 1 && st.Updated == 2 && st.Total == 4 && st.Revision.Sequence > first
	})
	for _, i := range []int{2, 3} {
		await(t, c, namespace, name(i), "updated", runs("10.6.1"))
	}
	if err := c.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(r), r.DeepCopy())
		return client.IgnoreNotFound(err) == nil && err != nil, client.IgnoreNotFound(err)
	})
	if err != nil {
		t.Fatalf("it does not go: %v", err)
	}
	// Another one, which comes to its end, shows that nothing of the deleted one goes on.
	other := rollout(t, c, "afterwards", namespace, v1alpha1.InstallationChange{Env: []corev1.EnvVar{{Name: "OURS", Value: "1"}}}, v1alpha1.RolloutStrategy{})
	reaches(t, c, other, "done", phase(v1alpha1.Succeeded))
	for i, version := range map[int]string{0: "10.5.2", 4: "10.5.2", 2: "10.6.1", 3: "10.6.1"} {
		await(t, c, namespace, name(i), "at version "+version, runs(version))
	}
}

// TestTwoLeaders: both act, as when a lease was taken from one that does not know it yet.
// Each installation is changed once, and never more are in flight than may.
func TestTwoLeaders(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 6)
	windlass(t, manager.Hooks{})
	flown := sample(t, c, namespace, 2)
	generations := map[string]int64{}
	for i := range 6 {
		generations[name(i)] = await(t, c, namespace, name(i), "stable", stable).Generation
	}
	r := rollout(t, c, "two-leaders", namespace, v1alpha1.InstallationChange{Version: "10.6.0"}, v1alpha1.RolloutStrategy{MaxInFlight: number(2), Order: v1alpha1.AtRandom})
	reaches(t, c, r, "done", phase(v1alpha1.Succeeded))
	flown.within(t, 2)
	for i := range 6 {
		if mm := await(t, c, namespace, name(i), "updated", runs("10.6.0")); mm.Generation != generations[name(i)]+1 {
			t.Errorf("the spec of %s was changed %d times", mm.Name, mm.Generation-generations[name(i)])
		}
	}
}
