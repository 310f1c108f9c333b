package gateway

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayfake "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned/fake"
)

// TestReport: a plan that was made before a status was stored writes nothing to that
// version again, and one of a later version does.
func TestReport(t *testing.T) {
	t.Parallel()
	const first, second = "1", "2"
	conflict := apierrors.NewConflict(schema.GroupResource{}, "r", nil)
	for name, c := range map[string]struct {
		answer   error
		then     string // The version of the second plan.
		unstored bool
		want     int
	}{
		"the version that was written to": {then: first, want: 1},
		"a later version":                 {then: second, want: 2},
		"a conflict":                      {answer: conflict, then: first, want: 1},
		"an error":                        {answer: errors.New("not now"), then: first, want: 2},
		"a status that was there already": {unstored: true, then: first, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrote := map[string]int{}
			client := gatewayfake.NewClientset()
			client.PrependReactor("update", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				wrote[action.GetResource().Resource]++
				o := action.(clienttesting.UpdateAction).GetObject().DeepCopyObject()
				if !c.unstored {
					o.(interface{ SetResourceVersion(string) }).SetResourceVersion(second)
				}
				return true, o, c.answer
			})
			g := &Gateway{options: Options{Resources: client}}
			for _, version := range []string{first, c.then} {
				p := versioned(t, version).plan(101, nil)
				if err := g.write(t.Context(), &effect{p, opens(p)}); (err != nil) != (c.answer != nil && !apierrors.IsConflict(c.answer)) {
					t.Errorf("it answers %v", err)
				}
			}
			if diff := cmp.Diff(map[string]int{"gatewayclasses": c.want, "gateways": c.want, "httproutes": c.want}, wrote); diff != "" {
				t.Error(diff)
			}
			if err := g.write(t.Context(), &effect{plan: (&world{}).plan(101, nil)}); err != nil {
				t.Error(err)
			}
			g.old.Range(func(uid, _ any) bool {
				t.Errorf("%v is gone and remembered", uid)
				return true
			})
		})
	}
}

// versioned has one object of each kind that has a status, at a version.
func versioned(t *testing.T, version string) *world {
	t.Helper()
	w := given(t)
	w.classes = []*gatewayv1.GatewayClass{w.classes[0].DeepCopy()}
	w.classes[0].UID = types.UID("class")
	w.classes[0].ResourceVersion, w.gateways[0].ResourceVersion, w.routes[0].ResourceVersion = version, version, version
	return &w
}
