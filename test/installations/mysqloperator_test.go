package installations

import (
	"context"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mysqlOperator stands in for Presslabs' operator in one namespace, in what a restore sees
// of it: a StatefulSet for each MysqlCluster, with the backup in the environment of an init
// container, and claims that it deletes when their replicas are not wanted any more, but for
// the first.
// It does nothing while the returned one is locked.
func mysqlOperator(t *testing.T, c client.Client, namespace string) *sync.Mutex {
	t.Helper()
	works := &sync.Mutex{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			works.Lock()
			defer works.Unlock()
			err := operateAll(ctx, c, namespace)
			if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
				t.Logf("the stand-in for the MySQL operator: %v", err)
			}
			return false, nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return works
}

// operateOnce has one that is held up do once what it would do.
func operateOnce(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		if err := operateAll(ctx, c, namespace); !apierrors.IsConflict(err) {
			return "", err
		}
		return "the stand-in for the MySQL operator", nil
	})
}

func operateAll(ctx context.Context, c client.Client, namespace string) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(mysqlCluster().GroupVersionKind())
	if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return err
	}
	for i := range list.Items {
		if err := operate(ctx, c, &list.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func operate(ctx context.Context, c client.Client, cluster *unstructured.Unstructured) error {
	replicas, _, _ := unstructured.NestedInt64(cluster.Object, "spec", "replicas")
	url, _, _ := unstructured.NestedString(cluster.Object, "spec", "initBucketURL")
	wanted := statefulSet(cluster, int32(replicas), url)
	set := &appsv1.StatefulSet{}
	err := c.Get(ctx, client.ObjectKeyFromObject(wanted), set)
	switch {
	case apierrors.IsNotFound(err):
		return c.Create(ctx, wanted)
	case err != nil:
		return err
	}
	before := set.DeepCopy()
	set.Spec.Replicas, set.Spec.Template.Spec.InitContainers[0].Env = wanted.Spec.Replicas, wanted.Spec.Template.Spec.InitContainers[0].Env
	if err := c.Patch(ctx, set, client.MergeFrom(before)); err != nil {
		return err
	}
	for n := max(replicas, 1); n < 5; n++ {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: set.Namespace, Name: claimName(int(n))}}
		if err := client.IgnoreNotFound(c.Delete(ctx, claim)); err != nil {
			return err
		}
	}
	return nil
}

func claimName(n int) string { return "data-" + mysqlOfChat + "-mysql-" + string(rune('0'+n)) }

func statefulSet(cluster *unstructured.Unstructured, replicas int32, url string) *appsv1.StatefulSet {
	labels := map[string]string{"mysql.presslabs.org/cluster": cluster.GetName()}
	name := cluster.GetName() + "-mysql"
	owner := *metav1.NewControllerRef(cluster, cluster.GroupVersionKind())
	env := []corev1.EnvVar{{Name: "MY_CLUSTER_NAME", Value: cluster.GetName()}}
	if url != "" {
		env = append(env, corev1.EnvVar{Name: "INIT_BUCKET_URI", Value: url})
	}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.GetNamespace(), Name: name, OwnerReferences: []metav1.OwnerReference{owner}},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, ServiceName: name, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					InitContainers: []corev1.Container{{Name: "init", Image: "example/sidecar", Env: env}},
					Containers:     []corev1.Container{{Name: "mysql", Image: "example/mysql", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/var/lib/mysql"}}}},
				},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
				},
			}},
		},
	}
}
