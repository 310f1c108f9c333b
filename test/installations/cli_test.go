package installations

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/cli"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// command runs one command line against the test cluster.
func command(t *testing.T, arguments ...string) (code int, out, problems string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.Main(t.Context(), arguments, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestUsageErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"plan":                            "windlass plan -f FILE",
		"install":                         "--image",
		"install --image x --replicas 0":  "want at least 1",
		"explain mattermost chat --bogus": "--help",
	} {
		code, out, problems := command(t, strings.Fields(line)...)
		if code != 2 || !strings.Contains(problems, want) || out != "" {
			t.Errorf("windlass %s: exit code %d, %q, %q; want 2 and %q", line, code, out, problems, want)
		}
	}
	if code, _, problems := command(t, "plan", "-f", filepath.Join(t.TempDir(), "missing.yaml")); code != 1 || !strings.Contains(problems, "missing.yaml") {
		t.Errorf("a missing file: exit code %d, %q", code, problems)
	}
}

func TestInstallDryRunPrintsWhatInstallApplies(t *testing.T) {
	t.Parallel()
	code, out, problems := command(t, "install", "--image", "example.com/windlass:1", "--dry-run")
	if code != 0 {
		t.Fatal(problems)
	}
	seen := map[string]bool{}
	for _, document := range strings.Split(out, "---\n")[1:] {
		var object struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		seen[object.Kind] = true
	}
	for _, kind := range []string{"Namespace", "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Deployment", "Service"} {
		if !seen[kind] {
			t.Errorf("no %s is printed", kind)
		}
	}
	// The cluster has all but the Deployment already.
	code, out, problems = command(t, "install", "--without-deployment", "--kubeconfig", clustertest.Kubeconfig())
	if code != 0 || strings.Contains(out, "configured") || !strings.Contains(out, "CustomResourceDefinition/mattermosts.installation.mattermost.com unchanged") {
		t.Errorf("installing again: exit code %d, %s %s", code, out, problems)
	}
}

// TestUninstall removes what was installed and leaves what somebody else made, and
// the definitions.
func TestUninstall(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	others := clustertest.Namespace(t)
	objects, err := install.Objects(install.Options{WithoutDeployment: true, Namespaces: []string{ns, others}})
	if err != nil {
		t.Fatal(err)
	}
	// Of what is the whole cluster's other tests live.
	objects = slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool {
		return o.GetNamespace() != ns && o.GetNamespace() != others && o.GetKind() != "CustomResourceDefinition"
	})
	theirs := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: others, Name: install.Name}}
	if err := c.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	ours := slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return o.GetNamespace() == others })
	if err := install.Apply(t.Context(), c, ours, nil); err != nil {
		t.Fatal(err)
	}
	removed := map[string]bool{}
	err = install.Remove(t.Context(), c, objects, func(o *unstructured.Unstructured, is bool) { removed[o.GetNamespace()+"/"+o.GetKind()] = is })
	if err != nil {
		t.Fatal(err)
	}
	if !removed[ns+"/Role"] || !removed[ns+"/RoleBinding"] || removed[others+"/Role"] || removed["/CustomResourceDefinition"] {
		t.Errorf("removed: %v", removed)
	}
	gone(t, c, types.NamespacedName{Namespace: ns, Name: install.Name}, &rbacv1.Role{})
	get(t, c, client.ObjectKeyFromObject(theirs), &rbacv1.Role{})
	code, out, problems := command(t, "uninstall", "--dry-run", "--kubeconfig", clustertest.Kubeconfig())
	if code != 0 || !strings.Contains(out, "ClusterRole/windlass would be removed") {
		t.Errorf("exit code %d, %s %s", code, out, problems)
	}
	shipped(t)
}

func TestPlanAndExplain(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	name := types.NamespacedName{Namespace: ns, Name: "chat"}
	at := []string{"-n", ns, "--kubeconfig", clustertest.Kubeconfig()}
	secrets(t, c, ns)
	mm := example(ns, "chat")
	mm.APIVersion, mm.Kind = v1beta1.GroupVersion.String(), "Mattermost"
	content, err := yaml.Marshal(mm)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "chat.yaml")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}

	code, out, problems := command(t, append([]string{"plan", "-f", file, "-o", "json"}, at...)...)
	var plans []struct {
		Exists bool
		Steps  []struct{ Action string }
	}
	if err := json.Unmarshal([]byte(out), &plans); code != 0 || err != nil || len(plans) != 1 {
		t.Fatalf("plan: exit code %d, %v, %s %s", code, err, out, problems)
	}
	if plans[0].Exists || len(plans[0].Steps) != 9 { // Eight objects, and the defaults.
		t.Errorf("plan: %+v", plans[0])
	}
	if err := c.Get(t.Context(), name, &v1beta1.Mattermost{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Fatalf("planning made the resource: %v", err)
	}

	mm.Spec.Database.External.Secret = "elsewhere"
	if err := c.Create(t.Context(), mm); err != nil {
		t.Fatal(err)
	}
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	code, out, problems = command(t, append([]string{"explain", "mattermost", "chat"}, at...)...)
	if code != 3 || !strings.Contains(out, "elsewhere") {
		t.Errorf("explain of a broken one: exit code %d, %s %s", code, out, problems)
	}
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Database.External.Secret = "db" })
	stable(t, c, name)
	code, out, problems = command(t, append([]string{"explain", "mm", "chat"}, at...)...)
	if code != 0 || !strings.Contains(strings.ToLower(out), "stable") {
		t.Errorf("explain of a stable one: exit code %d, %s %s", code, out, problems)
	}
	code, out, _ = command(t, append([]string{"plan", "-f", file}, at...)...)
	if code != 0 || !strings.Contains(out, "exists") {
		t.Errorf("plan of an existing one: exit code %d, %s", code, out)
	}
}

// TestPlanAndExplainOlder does so for the older API.
func TestPlanAndExplainOlder(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	at := []string{"-n", ns, "--kubeconfig", clustertest.Kubeconfig()}
	file := filepath.Join("..", "..", "docs", "examples", "clusterinstallation.yaml")
	code, out, problems := command(t, append([]string{"plan", "-f", file}, at...)...)
	if code != 0 || !strings.Contains(out, "ClusterInstallation "+ns+"/chat would be created") || !strings.Contains(out, "spec.database.secret (SecretNotFound)") {
		t.Errorf("plan: exit code %d, %s %s", code, out, problems)
	}
	name := createOlder(t, c, ns, "chat")
	editOlder(t, c, name, blueGreen("blue"))
	code, out, problems = command(t, append([]string{"explain", "ci", "chat"}, at...)...)
	if code != 3 || !strings.Contains(out, "apply Deployment/chat-green") {
		t.Errorf("explain of one that nobody looked at: exit code %d, %s %s", code, out, problems)
	}
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	stableOlder(t, c, name)
	code, out, problems = command(t, append([]string{"explain", "clusterinstallation", "chat"}, at...)...)
	if code != 0 || !strings.Contains(out, "Deployment/chat-green") || !strings.Contains(out, "Nothing to do") {
		t.Errorf("explain of a stable one: exit code %d, %s %s", code, out, problems)
	}
}

// TestReleaseCommand hands over what can be, names what cannot, and says so by its
// exit code.
func TestReleaseCommand(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	at := []string{"--kubeconfig", clustertest.Kubeconfig(), "-n", ns}
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	strict, standard := create(t, c, ns, "strict"), create(t, c, ns, "standard")
	edit(t, c, strict, func(mm *v1beta1.Mattermost) {
		mm.Annotations = map[string]string{v1beta1.ShapeAnnotation: string(v1beta1.ShapeStrict)}
	})
	stable(t, c, strict)
	stable(t, c, standard)

	code, out, problems := command(t, append([]string{"release", "strict", "--dry-run"}, at...)...)
	if code != 0 || !strings.Contains(out, "would be released") || !strings.Contains(out, "hand over Deployment/strict to mattermost-operator") {
		t.Errorf("dry run: exit code %d, %s %s", code, out, problems)
	}
	if _, asked := get(t, c, strict, &v1beta1.Mattermost{}).Annotations[v1beta1.ReleasedAnnotation]; asked {
		t.Error("the dry run asked for the release")
	}
	code, out, problems = command(t, append([]string{"release", "--all", "-o", "json"}, at...)...)
	var results []struct{ Name, Result, Message string }
	if err := json.Unmarshal([]byte(out), &results); code != 3 || err != nil || len(results) != 2 {
		t.Fatalf("exit code %d, %v, %s %s", code, err, out, problems)
	}
	for _, r := range results {
		want := map[string]string{"strict": "released", "standard": "cannot be released"}[r.Name]
		if r.Result != want || (r.Name == "standard") != strings.Contains(r.Message, v1beta1.ShapeAnnotation) {
			t.Errorf("%+v, want %s", r, want)
		}
	}
	if _, asked := get(t, c, standard, &v1beta1.Mattermost{}).Annotations[v1beta1.ReleasedAnnotation]; asked {
		t.Error("the release of what cannot be released was asked for")
	}
	for _, line := range []string{"release", "release a --all", "release a -A"} {
		if code, _, problems := command(t, strings.Fields(line)...); code != 2 {
			t.Errorf("windlass %s: exit code %d, %s", line, code, problems)
		}
	}
	if code, _, problems := command(t, append([]string{"release", "nobody"}, at...)...); code != 1 || !strings.Contains(problems, "nobody") {
		t.Errorf("release of what is not there: exit code %d, %s", code, problems)
	}
}
