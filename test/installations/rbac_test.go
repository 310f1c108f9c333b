package installations

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/manager"
)

// TestEveryPermissionIsNeeded takes away each verb of the shipped role, one at a
// time, and lets an installation be created, upgraded and changed: each time
// something is refused. That the whole role suffices is what every other test
// of this package shows.
func TestEveryPermissionIsNeeded(t *testing.T) {
	t.Parallel()
	role := shipped(t)
	for i, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				t.Run(verb+" "+resource, func(t *testing.T) {
					t.Parallel()
					refusedWithout(t, without(role.Rules, i, resource, verb), verb == "list")
				})
			}
		}
	}
}

// without returns the rules with one verb on one resource less.
func without(rules []rbacv1.PolicyRule, i int, resource, verb string) []rbacv1.PolicyRule {
	reduced := slices.Clone(rules)
	rest := *rules[i].DeepCopy()
	rest.Resources = slices.DeleteFunc(rest.Resources, func(r string) bool { return r == resource })
	one := *rules[i].DeepCopy()
	one.Resources = []string{resource}
	one.Verbs = slices.DeleteFunc(one.Verbs, func(v string) bool { return v == verb })
	reduced = slices.Delete(reduced, i, i+1)
	if len(one.Verbs) > 0 {
		reduced = append(reduced, one)
	}
	if len(rest.Resources) > 0 {
		reduced = append(reduced, rest)
	}
	return reduced
}

func refusedWithout(t *testing.T, rules []rbacv1.PolicyRule, older bool) {
	t.Helper()
	ns, c := namespace(t), admin(t)
	w := &windlass{older: older}
	w.start(t, confined(ns), grant(t, ns, rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	// Each step needs more; a refusal may come at any of them.
	for _, change := range []func(*v1beta1.Mattermost){
		func(*v1beta1.Mattermost) {},
		func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0"; mm.Spec.Ingress.Enabled = false },
		func(mm *v1beta1.Mattermost) { mm.Spec.Ingress.Enabled = true },
	} {
		edit(t, c, name, change)
		eventually(t, func(ctx context.Context) (string, error) {
			select {
			case <-w.refused:
				return "", nil
			default:
				return unlessStable(ctx, c, name)
			}
		})
	}
	// Events are sent in their own time.
	select {
	case <-w.refused:
	case <-time.After(20 * time.Second):
		t.Error("everything was done without this permission")
	}
}

func unlessStable(ctx context.Context, c client.Client, name types.NamespacedName) (awaited string, err error) {
	var mm v1beta1.Mattermost
	if err := c.Get(ctx, name, &mm); err != nil {
		return "", err
	}
	if mm.Status.State != v1beta1.Stable || mm.Status.ObservedGeneration != mm.Generation {
		return fmt.Sprintf("a refused request, or %s to become stable", name), nil
	}
	return "", nil
}
