package demo

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
)

//go:embed modes.yaml
var modes []byte

// apply applies every document of a manifest.
func (d *Demo) apply(ctx context.Context, manifest []byte) error {
	decoder := yamlutil.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		var object unstructured.Unstructured
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(&object), client.FieldOwner("demo"), client.ForceOwnership); err != nil {
			return fmt.Errorf("apply %s/%s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

func (d *Demo) otherStores(ctx context.Context) error {
	if err := d.apply(ctx, modes); err != nil {
		return err
	}
	err := d.watch(ctx, func(fleet map[string]*v1beta1.Mattermost) string {
		for _, name := range []string{"reports", "legal"} {
			for _, condition := range []string{v1beta1.ConditionReady, v1beta1.ConditionDatabaseReady, v1beta1.ConditionFileStoreReady, v1beta1.ConditionEndpointReady} {
				if !meta.IsStatusConditionTrue(fleet[name].Status.Conditions, condition) {
					return name + " to say that it is " + condition
				}
			}
		}
		return ""
	})
	if err != nil {
		return err
	}
	d.verified("reports runs on a PostgreSQL and a claim of its own behind a Gateway, legal on MySQL and MinIO behind a load balancer")
	return nil
}

func (d *Demo) failedBackup(ctx context.Context) error {
	reports := &v1beta1.Mattermost{}
	if err := d.get(ctx, "reports", reports); err != nil {
		return err
	}
	before := reports.DeepCopy()
	reports.Spec.Version = "10.6.0"
	reports.Spec.UpdateJob = &v1beta1.UpdateJob{PreUpgrade: &v1beta1.PreUpgrade{CronJob: "backup"}}
	if err := d.Client.Patch(ctx, reports, client.MergeFrom(before)); err != nil {
		return err
	}
	err := d.watch(ctx, func(fleet map[string]*v1beta1.Mattermost) string {
		stalled := meta.FindStatusCondition(fleet["reports"].Status.Conditions, v1beta1.ConditionStalled)
		if stalled == nil || stalled.Reason != v1beta1.ReasonPreUpgradeFailed {
			return "the upgrade of reports to stop at the backup"
		}
		return ""
	})
	if err != nil {
		return err
	}
	name := types.NamespacedName{Namespace: namespace, Name: "reports"}
	deployment := &appsv1.Deployment{}
	if err := d.Client.Get(ctx, name, deployment); err != nil {
		return err
	}
	if image := deployment.Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":10.5.2") || deployment.Status.AvailableReplicas != 1 {
		return fmt.Errorf("without a backup the pods run %s, and %d are available", image, deployment.Status.AvailableReplicas)
	}
	d.verified("the backup failed, so the database was not touched and 10.5.2 keeps serving")
	backup := &batchv1.CronJob{}
	if err := d.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: "backup"}, backup); err != nil {
		return err
	}
	broken := backup.DeepCopy()
	backup.Spec.JobTemplate.Spec.Template.Annotations = nil
	backup.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image = "postgres:17"
	if err := d.Client.Patch(ctx, backup, client.MergeFrom(broken)); err != nil {
		return err
	}
	if err := d.stableAt(ctx, "reports", "10.6.0"); err != nil {
		return err
	}
	d.verified("the backup was put right, and the upgrade went on by itself")
	return nil
}

func (d *Demo) rotate(ctx context.Context) error {
	chat := types.NamespacedName{Namespace: namespace, Name: "chat"}
	deployment := &appsv1.Deployment{}
	if err := d.Client.Get(ctx, chat, deployment); err != nil {
		return err
	}
	generation := deployment.Generation
	var lowest int32
	_, err := d.underTraffic(ctx, chatting, func(ctx context.Context) (err error) {
		lowest, err = d.lowestAvailable(ctx, "chat", func(ctx context.Context) error {
			if err := d.changePassword(ctx); err != nil {
				return err
			}
			return d.watch(ctx, func(fleet map[string]*v1beta1.Mattermost) string {
				err := d.Client.Get(ctx, chat, deployment)
				s := deployment.Status
				if err != nil || deployment.Generation == generation || s.ObservedGeneration != deployment.Generation || s.UpdatedReplicas != 2 || s.Replicas != 2 || s.AvailableReplicas != 2 {
					return "the pods of chat to be replaced"
				}
				for name, mm := range fleet {
					if mm.Status.State != v1beta1.Stable {
						return name + " to become stable"
					}
				}
				return ""
			})
		})
		return err
	})
	if err != nil {
		return err
	}
	if lowest < 2 || deployment.Generation != generation+1 {
		return fmt.Errorf("at one moment only %d of 2 pods were available, and there were %d roll-outs", lowest, deployment.Generation-generation)
	}
	d.verified("everything that uses the password was rolled once, never with fewer than %d of chat's 2 pods", lowest)
	return nil
}

func (d *Demo) changePassword(ctx context.Context) error {
	secret := &corev1.Secret{}
	if err := d.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: "database"}, secret); err != nil {
		return err
	}
	before := secret.DeepCopy()
	secret.Data["DB_CONNECTION_STRING"] = []byte("postgres://example:another@db.example.com:5432/mattermost?sslmode=require")
	return d.Client.Patch(ctx, secret, client.MergeFrom(before))
}

// takeOver makes an installation as the Mattermost Operator leaves one, and lets
// Windlass have it.
func (d *Demo) takeOver(ctx context.Context) error {
	mm := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "veteran", Annotations: map[string]string{v1beta1.PausedAnnotation: "true"}}}
	mm.Spec = v1beta1.MattermostSpec{
		Version: "10.5.2", Ingress: &v1beta1.Ingress{Enabled: true, Host: "veteran.example.com"},
		Database:  v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "database"}},
		FileStore: v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: "veteran", Secret: "files"}},
	}
	if err := d.Client.Create(ctx, mm); err != nil {
		return err
	}
	pods, err := d.leave(ctx, mm)
	if err != nil {
		return err
	}
	before := mm.DeepCopy()
	delete(mm.Annotations, v1beta1.PausedAnnotation)
	if err := d.Client.Patch(ctx, mm, client.MergeFrom(before)); err != nil {
		return err
	}
	if err := d.stable(ctx, "veteran"); err != nil {
		return err
	}
	now, _, err := d.pods(ctx, "veteran")
	if err != nil {
		return err
	}
	service := &corev1.Service{}
	if err := d.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: "veteran"}, service); err != nil {
		return err
	}
	if slices.ContainsFunc(service.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == installation.Former }) {
		return errors.New("the Service still has fields of the former operator")
	}
	if now != pods || service.Annotations["mattermost.com/last-applied"] != "" {
		return fmt.Errorf("before: %s; after: %s; annotations of the Service: %v", pods, now, service.Annotations)
	}
	d.verified("every field changed hands, and the same two pods serve")
	return d.handBack(ctx, pods)
}

// handBack gives it to the Mattermost Operator again, as `windlass release` does.
func (d *Demo) handBack(ctx context.Context, pods string) error {
	name := types.NamespacedName{Namespace: namespace, Name: "veteran"}
	mm := &v1beta1.Mattermost{}
	if err := d.Client.Get(ctx, name, mm); err != nil {
		return err
	}
	before := mm.DeepCopy()
	metav1.SetMetaDataAnnotation(&mm.ObjectMeta, v1beta1.ReleasedAnnotation, "true")
	if err := d.Client.Patch(ctx, mm, client.MergeFrom(before)); err != nil {
		return err
	}
	err := d.until(ctx, func(ctx context.Context) (awaited string, err error) {
		if err := d.Client.Get(ctx, name, mm); err != nil || installation.HandedOver(mm) {
			return "", err
		}
		return "the release of veteran", nil
	})
	if err != nil {
		return err
	}
	now, _, err := d.pods(ctx, "veteran")
	if err != nil {
		return err
	}
	service := &corev1.Service{}
	if err := d.Client.Get(ctx, name, service); err != nil {
		return err
	}
	if now != pods || service.Annotations["mattermost.com/last-applied"] == "" {
		return fmt.Errorf("before: %s; after the release: %s; annotations of the Service: %v", pods, now, service.Annotations)
	}
	d.verified("every field is the Mattermost Operator's again, and still the same two pods serve")
	return nil
}

// leave makes what the Mattermost Operator makes of a resource, and returns the pods.
func (d *Demo) leave(ctx context.Context, mm *v1beta1.Mattermost) (pods string, err error) {
	left, err := installation.Render(installation.Default(mm), nil, installation.RenderOptions{Shape: v1beta1.ShapeStrict})
	if err != nil {
		return "", err
	}
	for _, object := range left.Objects {
		annotations := object.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations["mattermost.com/last-applied"] = "UEsDBBQ"
		object.SetAnnotations(annotations)
		if err := d.Client.Create(ctx, object, client.FieldOwner(installation.Former)); err != nil {
			return "", err
		}
	}
	err = d.until(ctx, func(ctx context.Context) (awaited string, err error) {
		var ready bool
		if pods, ready, err = d.pods(ctx, mm.Name); err == nil && !ready {
			return "the pods of " + mm.Name, nil
		}
		return "", err
	})
	return pods, err
}

// pods returns the UIDs of an installation's pods, and whether two are ready.
func (d *Demo) pods(ctx context.Context, name string) (uids string, ready bool, err error) {
	var list corev1.PodList
	err = d.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{"installation.mattermost.com/installation": name})
	count := 0
	for i := range list.Items {
		uids += string(list.Items[i].UID) + " "
		for _, c := range list.Items[i].Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				count++
			}
		}
	}
	return uids, count == 2, err
}
