package installations

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/installation/handovertest"
	"windlass.dev/test/windlasstest"
)

// TestWhatAHandOverMustNotDo is seen by what other tests watch hand-overs with.
func TestWhatAHandOverMustNotDo(t *testing.T) {
	t.Parallel()
	secret := func(ns string, i int, owners ...*v1alpha1.ClusterInstallation) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("s-%d", i)}}
		for _, owner := range owners {
			s.OwnerReferences = append(s.OwnerReferences, metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ClusterInstallation", Name: owner.Name, UID: owner.UID})
		}
		return s
	}
	owned := func(ctx context.Context, c client.Client, ns string, by ...*v1alpha1.ClusterInstallation) error {
		for i := range 7 {
			if err := c.Update(ctx, secret(ns, i, by...)); err != nil {
				return err
			}
		}
		return nil
	}
	for title, one := range map[string]struct {
		want string // Empty for nothing that is wrong.
		do   func(ctx context.Context, c client.Client, ns string, before, after *v1alpha1.ClusterInstallation) error
	}{
		"nothing": {"", func(context.Context, client.Client, string, *v1alpha1.ClusterInstallation, *v1alpha1.ClusterInstallation) error {
			return nil
		}},
		"handed over": {"", func(ctx context.Context, c client.Client, ns string, before, after *v1alpha1.ClusterInstallation) error {
			if err := owned(ctx, c, ns, after); err != nil {
				return err
			}
			return c.Delete(ctx, before)
		}},
		"deleted before it is handed over": {"gone", func(ctx context.Context, c client.Client, ns string, before, _ *v1alpha1.ClusterInstallation) error {
			return c.Delete(ctx, before)
		}},
		"for a moment nobody's": {"has lost its owner", func(ctx context.Context, c client.Client, ns string, before, after *v1alpha1.ClusterInstallation) error {
			if err := owned(ctx, c, ns); err != nil {
				return err
			}
			return owned(ctx, c, ns, after)
		}},
		"of a resource that is gone too": {"when that was gone", func(ctx context.Context, c client.Client, ns string, before, after *v1alpha1.ClusterInstallation) error {
			if err := owned(ctx, c, ns, before, after); err != nil {
				return err
			}
			if err := c.Delete(ctx, before); err != nil {
				return err
			}
			return owned(ctx, c, ns, after)
		}},
		"made anew": {"is gone, or another one", func(ctx context.Context, c client.Client, ns string, before, _ *v1alpha1.ClusterInstallation) error {
			if err := c.Delete(ctx, secret(ns, 3)); err != nil {
				return err
			}
			return c.Create(ctx, secret(ns, 3, before))
		}},
		"another one": {"s-7 is new", func(ctx context.Context, c client.Client, ns string, before, _ *v1alpha1.ClusterInstallation) error {
			return c.Create(ctx, secret(ns, 7, before))
		}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			var both [2]*v1alpha1.ClusterInstallation
			for i := range both {
				both[i] = &v1alpha1.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("chat-%d", i)}, Spec: v1alpha1.ClusterInstallationSpec{IngressName: "chat.example.com"}}
				if err := c.Create(t.Context(), both[i]); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 7 {
				if err := c.Create(t.Context(), secret(ns, i, both[0])); err != nil {
					t.Fatal(err)
				}
			}
			end, err := handovertest.Watch(t.Context(), c, types.NamespacedName{Namespace: ns, Name: "chat"}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := one.do(t.Context(), c, ns, both[0], both[1]); err != nil {
				t.Fatal(err)
			}
			switch err := end(); {
			case one.want == "" && err != nil, one.want != "" && (err == nil || !strings.Contains(err.Error(), one.want)):
				t.Errorf("it says %v, want %q", err, one.want)
			}
		})
	}
}
