package nodeimages

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/window"
	"windlass.dev/test/windlasstest"
)

func TestTheAPIRefuses(t *testing.T) {
	t.Parallel()
	live := windlasstest.Client(t)
	c := client.NewDryRunClient(live)
	fixed := []v1alpha1.ImageSource{{Fixed: "ami-1"}}
	image := func(s v1alpha1.NodeImageSpec) client.Object {
		return &v1alpha1.NodeImage{ObjectMeta: metav1.ObjectMeta{GenerateName: "refused-"}, Spec: s}
	}
	from := func(sources ...v1alpha1.ImageSource) client.Object {
		return image(v1alpha1.NodeImageSpec{Sources: sources})
	}
	group := func(p v1alpha1.Provider) client.Object {
		return &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{GenerateName: "refused-"}, Spec: v1alpha1.NodeGroupSpec{Provider: p}}
	}
	filter := func(f v1alpha1.ImageFilter) client.Object {
		return from(v1alpha1.ImageSource{Filter: &f, Region: region})
	}
	for name, x := range map[string]struct {
		object client.Object
		want   string // Empty if it is taken.
	}{
		"a fixed image":                {from(fixed...), ""},
		"a parameter":                  {from(v1alpha1.ImageSource{SSMParameter: "/image", Region: region}), ""},
		"a parameter without a region": {from(v1alpha1.ImageSource{SSMParameter: "/image"}), "give the region"},
		"two kinds in a source":        {from(v1alpha1.ImageSource{SSMParameter: "/image", Fixed: "ami-1", Region: region}), "give exactly one of ssmParameter"},
		"no kind in a source":          {from(v1alpha1.ImageSource{Region: region}), "give exactly one of ssmParameter"},
		"no source":                    {from(), "spec.sources"},
		"a filter by name":             {filter(v1alpha1.ImageFilter{Owner: "self", Name: "node-*"}), ""},
		"a filter by tags":             {filter(v1alpha1.ImageFilter{Owner: "self", Tags: map[string]string{"stage": "stable"}}), ""},
		"a filter for anything":        {filter(v1alpha1.ImageFilter{Owner: "self", Architecture: "arm64"}), "give a name or tags"},
		"a filter without an owner":    {filter(v1alpha1.ImageFilter{Name: "node-*"}), "owner"},
		"an unknown approval":          {image(v1alpha1.NodeImageSpec{Sources: fixed, Approval: "Sometimes"}), "Unsupported value"},
		"an interval of a second":      {image(v1alpha1.NodeImageSpec{Sources: fixed, IntervalSeconds: 1}), "greater than or equal to 10"},
		"a negative age":               {image(v1alpha1.NodeImageSpec{Sources: fixed, MinAgeSeconds: -1}), "greater than or equal to 0"},
		"no provider":                  {group(v1alpha1.Provider{}), "give exactly one of autoScaling"},
		"two providers":                {group(v1alpha1.Provider{Karpenter: &v1alpha1.KarpenterNodePool{Name: "a"}, Simulated: &v1alpha1.SimulatedGroup{Name: "a"}}), "give exactly one of autoScaling"},
		"one provider":                 {group(v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: "a"}}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.Create(t.Context(), x.object)
			if x.want == "" && err != nil || x.want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), x.want)) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestGuideManifests makes each object of the guide, as it is there.
func TestGuideManifests(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	objects := windlasstest.Paste(t, windlasstest.Page(t, "guides/node-images.md"), nil)
	for _, image := range windlasstest.Of[v1alpha1.NodeImage](t, objects, "NodeImage") {
		shown[string(image.Spec.Approval)] = true
		for _, s := range image.Spec.Sources {
			shown["parameter"] = shown["parameter"] || s.SSMParameter != ""
			shown["filter"] = shown["filter"] || s.Filter != nil
			shown["fixed"] = shown["fixed"] || s.Fixed != ""
		}
		if st := image.Spec.Strategy; st != nil {
			if _, err := window.Parse(st.Windows); err != nil {
				t.Error(err)
			}
		}
	}
	for _, what := range []string{"parameter", "filter", "fixed", "Manual", "Automatic"} {
		if !shown[what] {
			t.Errorf("the guide shows no manifest with %s", what)
		}
	}
}
