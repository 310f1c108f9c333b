package installations

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/cli"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// migrateCommand runs `windlass migrate`, and wants an exit code and some of what it says.
func migrateCommand(t *testing.T, code int, text string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if !slices.Contains(arguments, "--kubeconfig") {
		arguments = append(arguments, "--kubeconfig", clustertest.Kubeconfig())
	}
	var out, problems bytes.Buffer
	got := cli.Main(ctx, append([]string{"migrate"}, arguments...), &out, &problems)
	if got != code || !strings.Contains(out.String()+problems.String(), text) {
		t.Fatalf("migrate %s: exit code %d, want %d and %q\n%s%s", strings.Join(arguments, " "), got, code, text, out.String(), problems.String())
	}
	return out.String()
}

// TestMigrateCommands goes through the life of a migration by the commands alone: held
// before its end, reverted, asked for again, finished, and taken back after all.
func TestMigrateCommands(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := older(t, c, ns, "full")
	before := get(t, c, name, &v1alpha1.ClusterInstallation{})
	there := alwaysThere(t, c, name)
	run := func(code int, text string, arguments ...string) string {
		t.Helper()
		return migrateCommand(t, code, text, append(arguments, "-n", ns)...)
	}
	run(0, "Ready", "plan", "chat")
	run(0, `"podRestart": "Never"`, "plan", "-o", "json")
	run(0, `"podRestart": "Now"`, "plan", "--recreate", "-o", "json")
	run(0, "1 not begun", "status")
	run(0, "There is nothing to do", "revert", "chat")
	run(1, "no migration was asked for", "finalize", "chat", "--yes")
	run(0, "would be begun", "start", "chat", "--hold", "--dry-run")
	if ci := get(t, c, name, &v1alpha1.ClusterInstallation{}); ci.ResourceVersion != before.ResourceVersion {
		t.Error("a dry run changed it")
	}
	run(0, "AwaitingFinalization", "start", "chat", "--hold", "--wait")
	run(0, "AwaitingFinalization", "watch")
	run(0, "1 under way", "plan", "chat")
	ownedBy(t, c, stable(t, c, name))

	run(0, "Reverted", "revert", "chat", "--wait")
	ownedBy(t, c, stableOlder(t, c, name))
	gone(t, c, name, &v1beta1.Mattermost{})
	run(0, "AwaitingFinalization", "start", "-l", "team=a", "--hold", "--wait", "-o", "yaml")

	// What names the ClusterInstallation as an owner would be left without one.
	stray := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "stray", OwnerReferences: []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "ClusterInstallation", Name: "chat", UID: before.UID,
	}}}}
	if err := c.Create(t.Context(), stray); err != nil {
		t.Fatal(err)
	}
	run(1, "it is still an owner of ConfigMap/stray", "finalize", "chat", "--yes")
	if err := c.Delete(t.Context(), stray); err != nil {
		t.Fatal(err)
	}
	run(2, "say it with --yes", "finalize", "chat")
	run(0, "would end", "finalize", "--all", "--dry-run")
	inPhase(t, c, name, v1alpha1.MigrationAwaitingFinalization)
	run(0, "chat Migrated", "finalize", "--all", "--yes", "--wait")
	mm := migrated(t, c, name)
	ownedBy(t, c, mm)
	run(0, "1 Migrated", "status", "chat")
	run(0, "1 were, and are Mattermosts now", "plan")
	run(0, "1 Migrated", "start", "chat", "--wait")

	run(1, "make it anew", "revert", "chat")
	again := &v1alpha1.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name.Name, Labels: before.Labels, Annotations: before.Annotations}, Spec: before.Spec}
	again.Spec.Migrate = false
	if err := c.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	run(3, "Superseded", "status")
	run(3, "has its place", "plan")
	run(1, "nothing was begun", "start", "chat")
	run(0, "Reverted", "revert", "chat", "--wait")
	ownedBy(t, c, stableOlder(t, c, name))
	there(t)

	// A Mattermost that was changed is not taken back by the way.
	run(0, "AwaitingFinalization", "start", "chat", "--hold", "--wait")
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0" })
	run(2, "spec.version", "revert", "chat")
	run(0, "Reverted", "revert", "chat", "--yes", "--wait")
}

// manyOlder makes installations: the third is blue-green, and the fourth paused.
func manyOlder(t *testing.T, c client.Client, namespace string, n int) {
	t.Helper()
	secrets(t, c, namespace)
	name := func(i int) types.NamespacedName {
		return types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("chat-%d", i)}
	}
	for i := range n {
		ci := &v1alpha1.ClusterInstallation{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(i).Name},
			Spec: v1alpha1.ClusterInstallationSpec{
				Version: "10.5.2", Replicas: 1, IngressName: name(i).Name + ".example.com",
				Database: v1alpha1.Database{Secret: "db"},
				Minio:    v1alpha1.Minio{ExternalURL: "s3.example.com", ExternalBucket: "chat", Secret: "fs"},
			},
		}
		if i == 2 {
			blueGreen("blue")(&ci.Spec)
		}
		if err := c.Create(t.Context(), ci); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		stableOlder(t, c, name(i))
	}
	annotateOlder(t, c, name(3), v1beta1.PausedAnnotation, "true")
}

// inFlight counts, from now on and by what the API server had at each time, how many
// migrations are under way. The function ends that, and returns the most at a time.
func inFlight(t *testing.T, namespace string) (most func() int) {
	t.Helper()
	c, err := client.NewWithWatch(clustertest.Shared(), client.Options{Scheme: windlasstest.Client(t).Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	var list v1alpha1.ClusterInstallationList
	if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	events, err := c.Watch(t.Context(), &list, client.InNamespace(namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan int, 1)
	go func() {
		highest, flying := 0, map[string]bool{}
		for event := range events.ResultChan() {
			ci, ok := event.Object.(*v1alpha1.ClusterInstallation)
			if !ok {
				continue
			}
			paused := ci.Annotations[v1beta1.PausedAnnotation] == "true"
			if delete(flying, ci.Name); event.Type != watch.Deleted && ci.Spec.Migrate && !paused {
				flying[ci.Name] = true
			}
			highest = max(highest, len(flying))
		}
		result <- highest
	}()
	return func() int {
		events.Stop()
		return <-result
	}
}

// TestMigrateMany: what cannot be migrated holds up nobody; no more are under way at a time
// than may be, also when the command is interrupted and started again.
func TestMigrateMany(t *testing.T) {
	t.Parallel()
	const n = 8
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	manyOlder(t, c, ns, n)
	var planned struct {
		Summary map[string]int `json:"summary"`
	}
	if err := json.Unmarshal([]byte(migrateCommand(t, 3, "Disable BlueGreen", "plan", "-n", ns, "-o", "json")), &planned); err != nil {
		t.Fatal(err)
	}
	if s := planned.Summary; s["ready"] != n-2 || s["waits"] != 1 || s["refused"] != 1 || s["restarting"] != 0 {
		t.Errorf("summary %v", s)
	}
	migrateCommand(t, 1, "nothing was begun, because 1 of 8 cannot be migrated", "start", "--all", "-n", ns)
	migrateCommand(t, 0, "chat-0: would be begun", "start", "--all", "-n", ns, "--skip-refused", "--dry-run")
	migrateCommand(t, 0, "8 not begun", "status", "-n", ns)

	most := inFlight(t, ns)
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan string, 1)
	line := []string{"migrate", "start", "--all", "-n", ns, "--skip-refused", "--max-in-flight", "2", "--kubeconfig", clustertest.Kubeconfig()}
	go func() {
		var out bytes.Buffer
		code := cli.Main(ctx, line, &out, &out)
		ended <- fmt.Sprintf("exit code %d\n%s", code, out.String())
	}()
	eventually(t, func(ctx context.Context) (string, error) {
		var list v1alpha1.ClusterInstallationList
		err := c.List(ctx, &list, client.InNamespace(ns))
		if len(list.Items) > n-2 {
			return fmt.Sprintf("two to be through; %d are left", len(list.Items)), err
		}
		return "", err
	})
	interrupt()
	if said := <-ended; !strings.HasPrefix(said, "exit code 1") || !strings.Contains(said, "what was begun goes on in the cluster") {
		t.Errorf("interrupted: %s", said)
	}
	// The one that is paused fits at the end, and waits by itself.
	migrateCommand(t, 0, "chat-3 Waiting: The migration begins when the installation is no longer paused.", line[1:len(line)-2]...)
	if got := most(); got != 2 {
		t.Errorf("%d were under way at a time", got)
	}
	eventually(t, func(ctx context.Context) (string, error) {
		var out bytes.Buffer
		cli.Main(ctx, []string{"migrate", "status", "-n", ns, "--kubeconfig", clustertest.Kubeconfig()}, &out, &out)
		if !strings.Contains(out.String(), "6 Migrated") {
			return "all but two to be migrated: " + out.String(), nil
		}
		return "", nil
	})
	migrateCommand(t, 0, "1 Waiting", "status", "-n", ns)
	migrateCommand(t, 1, "1 Waiting, 6 Migrated, 1 not begun", "watch", "-n", ns, "--timeout", "1s")
	annotateOlder(t, c, types.NamespacedName{Namespace: ns, Name: "chat-3"}, v1beta1.PausedAnnotation, "false")
	migrateCommand(t, 0, "7 Migrated, 1 not begun", "watch", "-n", ns)
	// Asked for by hand it is refused, and says so.
	migrate(t, c, types.NamespacedName{Namespace: ns, Name: "chat-2"}, true)
	migrateCommand(t, 1, "1 did not become Mattermosts: "+ns+"/chat-2 (Refused)", "watch", "-n", ns)
	migrateCommand(t, 3, "1 Refused", "status", "-n", ns)
	migrateCommand(t, 0, "is to stay a ClusterInstallation", "revert", "chat-2", "-n", ns)
}

// as returns a kubeconfig of somebody who may do no more than the rules say.
func as(t *testing.T, namespace, user string, rules []rbacv1.PolicyRule) (kubeconfig string) {
	t.Helper()
	c := windlasstest.Client(t)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user}, Rules: rules}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
	}
	for _, object := range []client.Object{role, binding} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	config, err := clientcmd.LoadFromFile(clustertest.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range config.AuthInfos {
		info.Impersonate = user
	}
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// TestMigrateWithoutPermission says what may not be done, and does without Secrets.
func TestMigrateWithoutPermission(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	secrets(t, c, ns)
	ci := &v1alpha1.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "chat"}, Spec: v1alpha1.ClusterInstallationSpec{
		Version: "10.5.2", IngressName: "chat.example.com", Database: v1alpha1.Database{Secret: "db"},
	}}
	if err := c.Create(t.Context(), ci); err != nil {
		t.Fatal(err)
	}
	nobody := as(t, ns, "nobody", nil)
	migrateCommand(t, 1, `User "nobody" cannot list resource "clusterinstallations"`, "plan", "-n", ns, "--kubeconfig", nobody)
	migrateCommand(t, 1, "-n NAMESPACE", "status", "-A", "--kubeconfig", nobody)
	reader := as(t, ns, "reader", []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.GroupVersion.Group, v1beta1.GroupVersion.Group}, Resources: []string{"*"}, Verbs: []string{"get", "list"}}})
	migrateCommand(t, 0, "Its Secrets could not be read", "plan", "-n", ns, "--kubeconfig", reader)
	migrateCommand(t, 1, `User "reader" cannot patch resource "clusterinstallations"`, "start", "chat", "-n", ns, "--kubeconfig", reader)
	// No controller runs.
	migrateCommand(t, 0, "does Windlass run?", "start", "chat", "-n", ns)
	migrateCommand(t, 0, "Asked", "status", "-n", ns)
}

// TestMigrateUsage is about command lines that make no sense, and names that there are not.
func TestMigrateUsage(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	create(t, c, ns, "newer")
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"start":                            {2, "say which installations"},
		"revert -A":                        {2, "say which installations"},
		"start chat -l a=b":                {2, "only one of them"},
		"start chat --all":                 {2, "only one of them"},
		"start --all -l a=b":               {2, "not both"},
		"start chat -A":                    {2, "-A is for -l and --all"},
		"plan -A -n x":                     {2, "-n or -A"},
		"plan -l a=b=c":                    {2, `-l "a=b=c"`},
		"finalize --selector=":             {2, "--all"},
		"start chat --max-in-flight 0":     {2, "want at least 1"},
		"plan -o xml -n " + ns:             {2, "want json or yaml"},
		"plan chat -n " + ns:               {1, "there is no ClusterInstallation chat in namespace " + ns},
		"status newer -n " + ns:            {1, "the Mattermost of that name was none"},
		"watch chat -n " + ns:              {1, "there is no ClusterInstallation chat"},
		"start newer chat -n " + ns:        {1, "there is no ClusterInstallation chat"},
		"start --all -n " + ns:             {0, "there are no migrations in namespace " + ns},
		"status -n " + ns:                  {0, "There are no migrations in namespace " + ns},
		"watch -n " + ns:                   {0, "there are no migrations in namespace " + ns},
		"plan -l a=b -n " + ns:             {0, "There are no ClusterInstallations in namespace " + ns + " with a=b"},
		"finalize --all --yes -n " + ns:    {0, "There is nothing to do"},
		"revert --all --dry-run -n " + ns:  {0, "There is nothing to do"},
		"start --all --dry-run -n " + ns:   {0, "Nothing would be begun"},
		"plan --kubeconfig /missing/file":  {1, "no cluster to talk to"},
		"plan ci/chat -n missing-" + ns:    {1, "there is no ClusterInstallation chat"},
		"plan --all -n missing-" + ns:      {0, "There are no ClusterInstallations"},
		"start --all --timeout x -n " + ns: {2, "--help"},
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			migrateCommand(t, want.code, want.text, strings.Fields(line)...)
		})
	}
}
