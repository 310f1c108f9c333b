package installation

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/installation/v1beta1"
)

// Init containers that prepare and wait for MinIO.
const (
	minioBucket = "create-minio-bucket"
	minioCheck  = "init-check-minio"
)

// MinioName is that of the MinIOInstance, and of the generated Secret with its keys.
func MinioName(name string) string { return name + "-minio" }

// minioSecret holds the keys of MinIO.
func minioSecret(mm *v1beta1.Mattermost) string {
	if om := mm.Spec.FileStore.OperatorManaged; om != nil && om.Secret != "" {
		return om.Secret
	}
	return MinioName(mm.Name)
}

// minioHost is where MinIO serves: the Service that its operator makes.
func minioHost(mm *v1beta1.Mattermost) string {
	return fmt.Sprintf("%s-hl-svc.%s.svc.cluster.local:9000", MinioName(mm.Name), mm.Namespace)
}

// defaultFileStore completes spec.fileStore, if MinIO is to be run.
func defaultFileStore(mm *v1beta1.Mattermost, preset *storePreset) {
	if fileStore(mm) != fileStoreManaged {
		return
	}
	if mm.Spec.FileStore.OperatorManaged == nil {
		mm.Spec.FileStore.OperatorManaged = &v1beta1.OperatorManagedFileStore{}
	}
	om := mm.Spec.FileStore.OperatorManaged
	om.StorageSize = cmp.Or(om.StorageSize, defaultStorageSize)
	preset.fill(&om.Replicas, &om.Resources, sizes[defaultSize].fileStore)
}

// minio returns the resource of MinIO's operator; nil when there is none.
func minio(mm *v1beta1.Mattermost, options RenderOptions) *unstructured.Unstructured {
	if fileStore(mm) != fileStoreManaged {
		return nil
	}
	om := mm.Spec.FileStore.OperatorManaged
	spec := map[string]any{
		"replicas":    int64(*om.Replicas),
		"mountPath":   "/export",
		"credsSecret": map[string]any{"name": minioSecret(mm)},
		"volumeClaimTemplate": map[string]any{
			"metadata": map[string]any{"name": MinioName(mm.Name)},
			"spec":     volumeClaim(om.StorageSize),
		},
	}
	// The Mattermost Operator leaves them out.
	if resources := quantities(om.Resources); len(resources) > 0 && !options.strict() {
		spec["resources"] = resources
	}
	return managed(mm, minioKind, MinioName(mm.Name), spec)
}

// minioChecks make the bucket, which has the installation's name, and wait for
// MinIO to serve.
func minioChecks(mm *v1beta1.Mattermost) []corev1.Container {
	if fileStore(mm) != fileStoreManaged {
		return nil
	}
	host := "http://" + minioHost(mm)
	return []corev1.Container{{
		Name: minioBucket, Image: "minio/mc:RELEASE.2025-04-16T18-13-26Z", ImagePullPolicy: corev1.PullIfNotPresent,
		Command: []string{"/bin/sh", "-c", fmt.Sprintf("mc config host add localminio %s $(MINIO_ACCESS_KEY) $(MINIO_SECRET_KEY) && mc mb localminio/%s -q -p", host, mm.Name)},
		Env: []corev1.EnvVar{
			fromSecret("MINIO_ACCESS_KEY", minioSecret(mm), keyAccess),
			fromSecret("MINIO_SECRET_KEY", minioSecret(mm), keySecret),
		},
	}, {
		Name: minioCheck, Image: "appropriate/curl:latest", ImagePullPolicy: corev1.PullIfNotPresent,
		Command: []string{"sh", "-c", "until curl --max-time 5 " + host + "/minio/health/ready; do echo waiting for minio; sleep 5; done;"},
	}}
}

// s3 is where files go, when they do not go onto a claim.
type s3 struct {
	bucket, endpoint, secret, ssl string
	// keyless says that the pods' ServiceAccount opens the bucket.
	keyless bool
}

func s3Of(mm *v1beta1.Mattermost) s3 {
	if fileStore(mm) == fileStoreManaged {
		return s3{bucket: mm.Name, endpoint: minioHost(mm), secret: minioSecret(mm), ssl: "false"}
	}
	e := mm.Spec.FileStore.External
	return s3{bucket: e.Bucket, endpoint: e.URL, secret: e.Secret, ssl: "true", keyless: e.UseServiceAccount}
}
