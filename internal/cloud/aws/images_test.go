package aws_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/devcluster/aws/world"
)

func findImages(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tags := []world.Tag{{Key: "role", Value: "node"}, {Key: "stage", Value: "stable"}}
	f.addImage(t, world.Image{ImageId: "ami-old", Name: "base-1", CreationDate: start.Add(-2 * time.Hour), Tags: tags})
	f.addImage(t, world.Image{ImageId: "ami-new", Name: "base-2", CreationDate: start.Add(-time.Hour), Tags: tags})
	f.addImage(t, world.Image{ImageId: "ami-newest", Name: "base-3", CreationDate: start, Tags: tags[:1]})
	f.addImage(t, world.Image{ImageId: "ami-arm", Name: "base-3-arm", CreationDate: start, Architecture: "arm64"})
	f.addImage(t, world.Image{ImageId: "ami-deprecated", Name: "base-4", CreationDate: start.Add(time.Hour), Deprecated: true})
	f.addImage(t, world.Image{ImageId: "ami-foreign", Name: "base-5", CreationDate: start.Add(time.Hour), OwnerId: "000000000000"})
	f.write(t, func(s *world.State) error {
		for name, value := range map[string]string{"/node/image": "ami-new", "/node/gone": "ami-gone"} {
			if _, err := s.PutParameter(&world.PutParameterInput{Name: name, Value: value, Type: "String"}); err != nil {
				return err
			}
		}
		return nil
	})
	image := func(id, name, architecture string, before time.Duration) v1alpha1.Image {
		return v1alpha1.Image{ID: id, Name: name, Architecture: architecture, CreatedAt: new(metav1.NewTime(start.Add(-before)))}
	}
	newest := image("ami-newest", "base-3", "x86_64", 0)
	filter := func(f v1alpha1.ImageFilter) v1alpha1.ImageSource { return v1alpha1.ImageSource{Filter: &f} }
	for name, c := range map[string]struct {
		source v1alpha1.ImageSource
		want   v1alpha1.Image
		err    error
	}{
		"a parameter":                     {v1alpha1.ImageSource{SSMParameter: "/node/image"}, image("ami-new", "base-2", "x86_64", time.Hour), nil},
		"no such parameter":               {v1alpha1.ImageSource{SSMParameter: "/node/none"}, v1alpha1.Image{}, cloud.ErrNotFound},
		"a parameter for what is gone":    {v1alpha1.ImageSource{SSMParameter: "/node/gone"}, v1alpha1.Image{}, cloud.ErrNotFound},
		"fixed":                           {v1alpha1.ImageSource{Fixed: "ami-arm"}, image("ami-arm", "base-3-arm", "arm64", 0), nil},
		"fixed and unknown":               {v1alpha1.ImageSource{Fixed: "ami-none"}, v1alpha1.Image{}, cloud.ErrNotFound},
		"the newest by name":              {filter(v1alpha1.ImageFilter{Owner: "self", Name: "base-*", Architecture: "x86_64"}), newest, nil},
		"the newest of an architecture":   {filter(v1alpha1.ImageFilter{Owner: "self", Name: "base-*", Architecture: "arm64"}), image("ami-arm", "base-3-arm", "arm64", 0), nil},
		"the newest with tags":            {filter(v1alpha1.ImageFilter{Owner: "self", Tags: map[string]string{"role": "node", "stage": "stable"}}), image("ami-new", "base-2", "x86_64", time.Hour), nil},
		"of an account":                   {filter(v1alpha1.ImageFilter{Owner: "000000000000", Name: "base-*"}), image("ami-foreign", "base-5", "x86_64", -time.Hour), nil},
		"none that is like that":          {filter(v1alpha1.ImageFilter{Owner: "self", Name: "other-*"}), v1alpha1.Image{}, cloud.ErrNotFound},
		"the newest of which two are new": {filter(v1alpha1.ImageFilter{Owner: "self", Name: "base-3*"}), newest, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.source.Region = region
			got, err := f.cloud.Images().Find(t.Context(), c.source)
			if !errors.Is(err, c.err) {
				t.Errorf("the error is %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("fixed, and no region", func(t *testing.T) {
		t.Parallel()
		got, err := f.cloud.Images().Find(t.Context(), v1alpha1.ImageSource{Fixed: "any"})
		if diff := cmp.Diff(v1alpha1.Image{ID: "any"}, got); diff != "" || err != nil {
			t.Error(err, diff)
		}
	})
}
