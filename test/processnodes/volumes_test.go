package processnodes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/clustertest"
)

func local(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

// see is what a command prints in a pod.
func see(t testing.TB, ns, name, script string) string {
	t.Helper()
	out, _ := ask(t, ns, "", "exec", name, "--", "sh", "-c", "cd $CONTAINER_ROOT; "+script)
	return strings.TrimSpace(out)
}

// https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically
// and .../secret/#using-secrets-as-files-from-a-pod: changes reach running pods, but not
// what is mounted by a subPath, nor variables. A set of files changes at once.
func TestVolumeUpdates(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config"}, Data: map[string]string{"a": "1", "b": "1", "gone": "1"}}
	config, err := c.CoreV1().ConfigMaps(ns).Create(t.Context(), config, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := c.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "secret"}, StringData: map[string]string{"key": "1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// A reader that goes into the folder once sees one state of it.
	main := shell("main", `while :; do cd -P $CONTAINER_ROOT/config/..data; a=$(cat a 2> /dev/null); b=$(cat b 2> /dev/null); test -n "$a" && test -n "$b" && test "$a" != "$b" && echo torn; sleep 0.02; done`)
	main.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local("config"), Key: "a"}}}}
	main.VolumeMounts = []corev1.VolumeMount{
		{Name: "config", MountPath: "/config"}, {Name: "config", MountPath: "/part/a", SubPath: "a"},
		{Name: "all", MountPath: "/all"}, {Name: "info", MountPath: "/info"},
	}
	name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{main}, Volumes: []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local("config"), DefaultMode: new(int32(0o640))}}},
		{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: local("secret")}}}}}},
		{Name: "info", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['color']"}}}}}},
	}})
	until(t, c, ns, name, "the pod to run", is(corev1.PodReady, corev1.ConditionTrue))
	const look = `echo $(ls config) $(cat config/a config/b part/a all/key info/labels) $A; stat -L -c %a config/a`
	if got := see(t, ns, name, look); got != "a b gone 1111blue 1\n640" {
		t.Fatalf("at first it sees %q", got)
	}
	delete(config.Data, "gone")
	for _, value := range []string{"2", "3"} {
		config.Data["a"], config.Data["b"] = value, value
		if config, err = c.CoreV1().ConfigMaps(ns).Update(t.Context(), config, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	secret.Data["key"] = []byte("3")
	if _, err := c.CoreV1().Secrets(ns).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Pods(ns).Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"labels":{"color":"red"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	got, want := "", "a b 3313red 1\n640"
	waitFor(t, "the changes to be seen", func() bool {
		got = see(t, ns, name, look)
		return got == want || t.Failed()
	})
	if out, _ := ask(t, ns, "", "logs", name); out != "" {
		t.Errorf("it saw a part of a change: %q", out)
	}
}

// https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath-expanded-environment,
// and .../containers/#container-images: files outside of volumes end with a container.
func TestContainerFiles(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	main := shell("main", `cd $CONTAINER_ROOT; ls > data/$(ls data | wc -l); touch mine; test -e data/1 && exec sleep 100; exit 1`)
	main.Env = []corev1.EnvVar{{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}
	main.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data", SubPathExpr: "of-$(NAME)"}, {Name: "data", MountPath: "/whole"}}
	name := create(t, c, ns, corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{main},
		Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	})
	until(t, c, ns, name, "the second run", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount > 0 && is(corev1.PodReady, corev1.ConditionTrue)(p)
	})
	got := ""
	waitFor(t, "its files", func() bool {
		got = see(t, ns, name, "cmp data/0 data/1 && cat data/1 | xargs; ls whole")
		return got == "data dev var whole\nof-"+name
	})
}

// https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure
func TestTerminationMessages(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	for title, one := range map[string]struct {
		script, path string
		policy       corev1.TerminationMessagePolicy
		want         string
	}{
		"default path":              {"echo -n why > $CONTAINER_ROOT/dev/termination-log; exit 1", "", corev1.TerminationMessageReadFile, "why"},
		"of success":                {"echo -n well > $CONTAINER_ROOT/dev/termination-log", "", corev1.TerminationMessageReadFile, "well"},
		"own path":                  {"echo -n why > $CONTAINER_ROOT/some/where; exit 1", "/some/where", corev1.TerminationMessageReadFile, "why"},
		"the file before the log":   {"echo log; echo -n why > $CONTAINER_ROOT/dev/termination-log; exit 1", "", corev1.TerminationMessageFallbackToLogsOnError, "why"},
		"the log":                   {"echo log; exit 1", "", corev1.TerminationMessageFallbackToLogsOnError, "log\n"},
		"not the log":               {"echo log; exit 1", "", corev1.TerminationMessageReadFile, ""},
		"no log of success":         {"echo log", "", corev1.TerminationMessageFallbackToLogsOnError, ""},
		"no more than 4096 bytes":   {"head -c 5000 /dev/zero | tr '\\0' x > $CONTAINER_ROOT/dev/termination-log; exit 1", "", corev1.TerminationMessageReadFile, strings.Repeat("x", 4096)},
		"no more than 80 log lines": {"seq 1 100; exit 1", "", corev1.TerminationMessageFallbackToLogsOnError, lines(21, 100)},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			main := shell("main", one.script)
			main.TerminationMessagePath, main.TerminationMessagePolicy = one.path, one.policy
			name := create(t, c, ns, corev1.PodSpec{Containers: []corev1.Container{main}})
			p := until(t, c, ns, name, "the pod to end", func(p *corev1.Pod) bool { return phase(corev1.PodFailed)(p) || phase(corev1.PodSucceeded)(p) })
			if got := said(t, p); got != one.want {
				t.Errorf("the message is %q", got)
			}
		})
	}
}

func lines(from, to int) string {
	var all strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintln(&all, n)
	}
	return all.String()
}

// https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-storage:
// a pod's claims are its successor's. All that mount a claim see the same files, and
// what is in a volume goes with it.
func TestClaims(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	labels := map[string]string{"app": "db"}
	main := shell("main", "echo $HOSTNAME >> $CONTAINER_ROOT/data/starts; exec sleep 100")
	main.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels}, PodManagementPolicy: appsv1.ParallelPodManagement,
		PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType},
		Template:                             corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{main}, TerminationGracePeriodSeconds: new(int64(1))}},
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}}},
	}}
	if _, err := c.AppsV1().StatefulSets(ns).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	starts := func(pod string) string { return see(t, ns, pod, "cat data/starts | xargs") }
	waitFor(t, "both to have started", func() bool { return starts("db-0") == "db-0" && starts("db-1") == "db-1" })
	first, err := c.CoreV1().Pods(ns).Get(t.Context(), "db-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CoreV1().Pods(ns).Delete(t.Context(), "db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	successor(t, c, ns, first)
	waitFor(t, "what the first left", func() bool { return starts("db-0") == "db-0 db-0" })

	other := create(t, c, ns, corev1.PodSpec{
		TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{main},
		Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-db-0"}}}},
	})
	until(t, c, ns, other, "another pod with the claim", is(corev1.PodReady, corev1.ConditionTrue))
	waitFor(t, "both to see the same", func() bool { return starts("db-0") == "db-0 db-0 "+other })
}

// successor waits for the pod that takes the place of one.
func successor(t testing.TB, c kubernetes.Interface, ns string, of *corev1.Pod) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		p, err := c.CoreV1().Pods(ns).Get(ctx, of.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && p.UID != of.UID && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }), err
	})
	if err != nil {
		t.Fatalf("waiting for the successor of %s: %v", of.Name, err)
	}
}
