package rollouts

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"windlass.dev/api/fleet/v1alpha1"
	"windlass.dev/internal/cli"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// want runs a command line, and wants its exit code and some of what it prints.
func want(t *testing.T, code int, text string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var out, problems bytes.Buffer
	got := cli.Main(ctx, append([]string{"rollout"}, append(arguments, "--kubeconfig", clustertest.Kubeconfig())...), &out, &problems)
	if got != code || !strings.Contains(out.String()+problems.String(), text) {
		t.Fatalf("rollout %s: exit code %d, want %d and %q\n%s%s", strings.Join(arguments, " "), got, code, text, out.String(), problems.String())
	}
	return out.String()
}

// TestCommands walks through the life of a roll-out by the commands alone.
func TestCommands(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 3)
	flags := []string{"-n", namespace, "--version", "10.6.0", "--wave", "1 for 1h", "--wave", "tier=free for 10m"}
	want(t, 2, "say what to change", "start", "june")
	want(t, 0, "Wave 0: 1 installations, then watched for 1h0m0s\n  "+namespace+"/mm-00", append([]string{"plan"}, flags...)...)
	want(t, 0, `"number": 1`, append([]string{"plan", "-o", "json"}, flags...)...)
	want(t, 0, "Wave 1: 2 installations", append([]string{"start", "june", "--dry-run"}, flags...)...)
	manifest := want(t, 0, "kind: InstallationRollout", append([]string{"start", "june", "--dry-run", "-o", "yaml"}, flags...)...)
	want(t, 1, "there is no InstallationRollout june", "status", "june")

	r := &v1alpha1.InstallationRollout{}
	if err := yaml.UnmarshalStrict([]byte(manifest), r); err != nil {
		t.Fatal(err)
	}
	r.Spec.Paused = true
	if err := c.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(context.WithoutCancel(t.Context()), r) })
	reaches(t, c, r, "paused", func(st *v1alpha1.InstallationRolloutStatus) bool {
		return len(st.Waits) == 1 && st.Waits[0].Reason == v1alpha1.ReasonPaused
	})
	want(t, 0, "windlass rollout resume", "status", "june")
	want(t, 0, "june is resumed", "resume", "june")
	reaches(t, c, r, "soaking", phase(v1alpha1.Soaking))
	want(t, 0, `"phase": "Soaking"`, "status", "june", "-o", "json")
	want(t, 0, "june is paused", "pause", "june")
	want(t, 0, "Wave 1: 2 installations", "plan", "june")
	want(t, 0, "june is told to end", "abort", "june")
	want(t, 1, "ended as Aborted", "watch", "june")
	want(t, 3, "1 of 3 updated", "status", "june")
}

// TestRollBackCommand gives back after an abort, too.
func TestRollBackCommand(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 2)
	want(t, 0, "InstallationRollout/back Succeeded", "start", "back", "-n", namespace, "--version", "10.6.0", "--size", "miniSingleton", "--wait")
	r := &v1alpha1.InstallationRollout{}
	r.Name = "back"
	t.Cleanup(func() { _ = c.Delete(context.WithoutCancel(t.Context()), r) })
	want(t, 0, "told to give back", "rollback", "back")
	reaches(t, c, r, "rolled back", phase(v1alpha1.RolledBack))
	for i := range 2 {
		mm := await(t, c, namespace, name(i), "as it was", runs("10.5.2"))
		if got := mm.Spec.Scheduling.Resources.Requests.Memory(); got.Cmp(quantity) != 0 || *mm.Spec.Replicas != 1 {
			t.Errorf("%s has %d replicas and resources %v", mm.Name, *mm.Spec.Replicas, mm.Spec.Scheduling.Resources)
		}
		if limits := mm.Spec.Scheduling.Resources.Limits; len(limits) > 0 {
			t.Errorf("%s still has the limits of the size: %v", mm.Name, limits)
		}
	}
	r.Spec.Change.Version = "10.6.1"
	if err := c.Update(t.Context(), r); err == nil || !strings.Contains(err.Error(), "make another InstallationRollout") {
		t.Errorf("the change of a roll-out that is ended was edited: %v", err)
	}
}

// TestTheAPIServerRefuses what cannot be carried out.
func TestTheAPIServerRefuses(t *testing.T) {
	c := windlasstest.Client(t)
	for name, cse := range map[string]struct{ spec, want string }{
		"nothing to change":      {`{selector: {}, change: {}}`, "say what to change"},
		"no size":                {`{selector: {}, change: {size: huge}}`, "Unsupported value"},
		"a wave of both":         {`{selector: {}, change: {version: "1"}, strategy: {waves: [{size: 1, selector: {}}]}}`, "either selector or size"},
		"a wave of none":         {`{selector: {}, change: {version: "1"}, strategy: {waves: [{soakSeconds: 1}]}}`, "either selector or size"},
		"an empty scheduling":    {`{selector: {}, change: {scheduling: {}}}`, "say what to change"},
		"a migration and more":   {`{selector: {}, change: {migrate: true, version: "1"}}`, "the only change of its roll-out"},
		"no migration":           {`{selector: {}, change: {migrate: false}}`, "the only change of its roll-out"},
		"an image with a tag":    {`{selector: {}, change: {image: "example.com/mm:1"}}`, "without a tag"},
		"a version of two words": {`{selector: {}, change: {version: "10.6.0 latest"}}`, "give a tag"},
		"a share of no kind":     {`{selector: {}, change: {version: "1"}, strategy: {maxInFlight: some}}`, "maxInFlight"},
		"a limit of nothing":     {`{selector: {}, change: {version: "1"}, strategy: {limits: [{label: a, maxInFlight: "0%"}]}}`, "maxInFlight"},
	} {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte("apiVersion: fleet.windlass.dev/v1alpha1\nkind: InstallationRollout\nmetadata: {name: refused}\nspec: "+cse.spec), &object.Object); err != nil {
			t.Fatal(err)
		}
		if err := c.Create(t.Context(), object, client.DryRunAll); err == nil || !strings.Contains(err.Error(), cse.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGuideManifests makes each object of the guide, as it is there.
func TestGuideManifests(t *testing.T) {
	kinds := windlasstest.Kinds(windlasstest.Paste(t, windlasstest.Page(t, "guides/installation-rollouts.md"), nil))
	if kinds["InstallationRollout"] == 0 || kinds["Mattermost"] == 0 {
		t.Errorf("the guide has %v", kinds)
	}
}

// TestRunbookHasReasons: each section is about a reason that there is, and each that needs
// somebody has one.
func TestRunbookHasReasons(t *testing.T) {
	// These pass by themselves, or are what somebody did.
	windlasstest.RunbookHasReasons(t, "runbooks/rollout.md", "fleet/v1alpha1/conditions.go",
		"Rolling", "Soaking", "Paused", "OutsideWindow", "GatePending", "Updating", "RollingBack", "RolledBack", "Aborted", "Succeeded")
}
