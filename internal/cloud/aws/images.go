package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// images finds machine images of EC2.
type images struct{ *Cloud }

// Images finds machine images by a parameter, by what they are like, or by their id.
func (c *Cloud) Images() cloud.Images { return images{c} }

func (c images) Find(ctx context.Context, source v1alpha1.ImageSource) (v1alpha1.Image, error) {
	if source.Fixed != "" && source.Region == "" {
		return v1alpha1.Image{ID: source.Fixed}, nil // There is nowhere to look.
	}
	s := c.in(source.Region, source.RoleARN)
	switch {
	case source.Fixed != "":
		return s.image(ctx, source.Fixed)
	case source.Filter != nil:
		return s.newest(ctx, source.Filter)
	default:
		id, err := s.parameter(ctx, source.SSMParameter)
		if err != nil {
			return v1alpha1.Image{}, fmt.Errorf("parameter %s: %w", source.SSMParameter, err)
		}
		found, err := s.image(ctx, strings.TrimSpace(id))
		if err != nil {
			return v1alpha1.Image{}, fmt.Errorf("parameter %s: %w", source.SSMParameter, err)
		}
		return found, nil
	}
}

// image by its id, if it can be launched.
func (s *session) image(ctx context.Context, id string) (v1alpha1.Image, error) {
	found, err := s.images(ctx, []string{id})
	if err != nil {
		return v1alpha1.Image{}, err
	}
	i, ok := found[id]
	if !ok || i.State != ec2types.ImageStateAvailable {
		return v1alpha1.Image{}, fmt.Errorf("image %q that is available: %w", id, cloud.ErrNotFound)
	}
	return imageFrom(i), nil
}

// newest of the available images that a filter selects; of equally new ones the last by id.
func (s *session) newest(ctx context.Context, f *v1alpha1.ImageFilter) (v1alpha1.Image, error) {
	filter := func(name, value string) ec2types.Filter {
		return ec2types.Filter{Name: &name, Values: []string{value}}
	}
	filters := []ec2types.Filter{filter("state", "available")}
	if f.Name != "" {
		filters = append(filters, filter("name", f.Name))
	}
	if f.Architecture != "" {
		filters = append(filters, filter("architecture", f.Architecture))
	}
	for _, key := range slices.Sorted(maps.Keys(f.Tags)) {
		filters = append(filters, filter("tag:"+key, f.Tags[key]))
	}
	all, err := s.imagesWith(ctx, &ec2.DescribeImagesInput{Owners: []string{f.Owner}, Filters: filters})
	if err != nil {
		return v1alpha1.Image{}, err
	}
	if len(all) == 0 {
		return v1alpha1.Image{}, fmt.Errorf("image of %s named %q: %w", f.Owner, f.Name, cloud.ErrNotFound)
	}
	// EC2's times are all of one format, and so in the order of their text.
	return imageFrom(slices.MaxFunc(all, func(a, b ec2types.Image) int {
		if c := strings.Compare(awssdk.ToString(a.CreationDate), awssdk.ToString(b.CreationDate)); c != 0 {
			return c
		}
		return strings.Compare(*a.ImageId, *b.ImageId)
	})), nil
}

func imageFrom(i ec2types.Image) v1alpha1.Image {
	found := v1alpha1.Image{ID: awssdk.ToString(i.ImageId), Name: awssdk.ToString(i.Name), Architecture: string(i.Architecture)}
	if t, err := time.Parse(time.RFC3339, awssdk.ToString(i.CreationDate)); err == nil {
		found.CreatedAt = new(metav1.NewTime(t))
	}
	return found
}
