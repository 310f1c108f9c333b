package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/manager"
)

// readyOnes are installations that could begin.
func readyOnes(n int) (seen seenInstallations) {
	for i := range n {
		seen.older = append(seen.older, v1alpha1.ClusterInstallation{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: fmt.Sprintf("chat-%d", i), UID: types.UID(fmt.Sprint(i)), ResourceVersion: "1", Generation: 1},
			Spec:       v1alpha1.ClusterInstallationSpec{Version: "10.5.2", IngressName: "chat.example.com"},
			Status:     v1alpha1.ClusterInstallationStatus{State: v1alpha1.Stable, ObservedGeneration: 1},
		})
	}
	return seen
}

// TestChangesThatAreRefused: one that the API server does not let be changed holds up
// nobody, is named at the end, and is not tried for ever; too many of them stop all.
func TestChangesThatAreRefused(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "clusterinstallations"}
	forbidden := apierrors.NewForbidden(resource, "x", errors.New("a policy says no"))
	cases := map[string]struct {
		n       int
		answer  func(name string) error
		begun   int
		refused []string
		err     string
	}{
		"none":         {n: 3, answer: func(string) error { return nil }, begun: 3},
		"one":          {n: 3, answer: only("chat-1", forbidden), begun: 2, refused: []string{"team-a/chat-1"}, err: "a policy says no"},
		"just changed": {n: 3, answer: only("chat-1", apierrors.NewConflict(resource, "x", errors.New("changed"))), begun: 2},
		"gone":         {n: 3, answer: only("chat-1", apierrors.NewNotFound(resource, "x")), begun: 2},
		"for a while":  {n: 3, answer: only("chat-1", apierrors.NewInternalError(errors.New("a webhook does not answer"))), begun: 2, refused: []string{"team-a/chat-1"}, err: "does not answer"},
		"all":          {n: 30, answer: func(string) error { return forbidden }, refused: slices.Repeat([]string{"*"}, refusals), err: "no other is begun"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := readyOnes(c.n)
			scheme, err := manager.Scheme()
			if err != nil {
				t.Fatal(err)
			}
			begun := map[string]bool{}
			c8s := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build(), interceptor.Funcs{
				Patch: func(_ context.Context, _ client.WithWatch, object client.Object, _ client.Patch, _ ...client.PatchOption) error {
					err := c.answer(object.GetName())
					if ci, ok := object.(*v1alpha1.ClusterInstallation); ok && err == nil {
						begun[object.GetName()] = true
						i := slices.IndexFunc(seen.older, func(one v1alpha1.ClusterInstallation) bool { return one.Name == ci.Name })
						ci.ResourceVersion = "2"
						seen.older[i] = *ci
					}
					return err
				},
			})
			s := newMigrateStart()
			s.most, s.told, s.labels = 100, io.Discard, labels.Everything()
			step := s.drive(c8s)
			for range tries + 1 {
				if _, err = step(t.Context(), seen, s.viewOf(seen)); err != nil {
					break
				}
			}
			if err == nil {
				err = s.outcome(s.viewOf(seen))
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("the error is %v, want %q", err, c.err)
			}
			var refused []string
			for name := range s.refused {
				refused = append(refused, name.String())
			}
			if slices.Sort(refused); len(c.refused) > 0 && c.refused[0] == "*" {
				refused = slices.Repeat([]string{"*"}, len(refused))
			}
			if diff := cmp.Diff(c.refused, refused); diff != "" || len(begun) != c.begun {
				t.Errorf("%v were begun, want %d; refused (-want +got):\n%s", slices.Sorted(maps.Keys(begun)), c.begun, diff)
			}
		})
	}
}

// only answers for one name.
func only(name string, err error) func(string) error {
	return func(of string) error {
		if of == name {
			return err
		}
		return nil
	}
}
