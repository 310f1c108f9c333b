package fleet

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/install"
)

// memberConfig is that of the member's own Windlass.
func memberConfig(t *testing.T, m *member) *rest.Config {
	t.Helper()
	config, err := m.cluster.ConfigFor(install.Identity)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func newInstallation(t *testing.T, m *member, name string) types.NamespacedName {
	t.Helper()
	for secret, data := range map[string]map[string]string{
		"db": {"DB_CONNECTION_STRING": "postgres://example:example@db.example.com/mm"},
		"fs": {"accesskey": "example", "secretkey": "example"},
	} {
		err := m.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: secret}, StringData: data})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	mm := &v1beta1.Mattermost{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: v1beta1.MattermostSpec{
			Version:   "10.5.2",
			Ingress:   &v1beta1.Ingress{Enabled: true, Host: name + ".example.com"},
			Database:  v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
			FileStore: v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: name, Secret: "fs"}},
		},
	}
	if err := m.Create(t.Context(), mm); err != nil {
		t.Fatal(err)
	}
	return client.ObjectKeyFromObject(mm)
}

func stable(t *testing.T, m *member, name types.NamespacedName) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		var mm v1beta1.Mattermost
		if err := m.Get(ctx, name, &mm); err != nil {
			return "", err
		}
		if mm.Status.State != v1beta1.Stable {
			return fmt.Sprintf("%s to become stable; its status is %+v", name, mm.Status), nil
		}
		return "", nil
	})
}

// frozen waits until an installation says that it waits for a freeze, and nothing is made
// of it.
func frozen(t *testing.T, m *member, name types.NamespacedName) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		var mm v1beta1.Mattermost
		if err := m.Get(ctx, name, &mm); err != nil {
			return "", err
		}
		ready := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionReady)
		if ready == nil || ready.Reason != v1beta1.ReasonAdmissionFrozen {
			return fmt.Sprintf("%s to wait; its status is %+v", name, mm.Status), nil
		}
		for _, part := range []string{"FleetRotation/", "since 20", "until 20"} {
			if !strings.Contains(ready.Message, part) {
				t.Errorf("the message lacks %q: %s", part, ready.Message)
			}
		}
		return "", nil
	})
	var service corev1.Service
	if err := m.Get(t.Context(), name, &service); !apierrors.IsNotFound(err) {
		t.Errorf("a Service of %s is there, or: %v", name, err)
	}
}
