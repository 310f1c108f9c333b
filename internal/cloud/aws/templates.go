package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"windlass.dev/internal/cloud"
)

// What groups follow instead of a version. A version that is not said is the default.
const (
	latest   = "$Latest"
	fallback = "$Default"
)

// slot is one way in which a group makes machines: its template, or that of some of its
// types.
type slot struct {
	// spec is the group's own, so that a change of it is one of the group.
	spec *astypes.LaunchTemplateSpecification
	// override has an image of its own instead of the template's; nil for most.
	override *astypes.LaunchTemplateOverrides
	// id and number are what spec means now, and image what machines get.
	id     string
	number int64
	image  string
}

// says is the version as the group says it.
func (s *slot) says() string {
	if v := awssdk.ToString(s.spec.Version); v != "" {
		return v
	}
	return fallback
}

// slots of a group. The group's template is none if each type has its own.
func slots(g *astypes.AutoScalingGroup) []*slot {
	if g.MixedInstancesPolicy == nil {
		if g.LaunchTemplate == nil {
			return nil
		}
		return []*slot{{spec: g.LaunchTemplate}}
	}
	mixed := g.MixedInstancesPolicy.LaunchTemplate
	base := &slot{spec: mixed.LaunchTemplateSpecification}
	all, used := []*slot{}, len(mixed.Overrides) == 0
	for n := range mixed.Overrides {
		o := &mixed.Overrides[n]
		s := &slot{spec: mixed.LaunchTemplateSpecification}
		if o.LaunchTemplateSpecification != nil {
			s.spec = o.LaunchTemplateSpecification
		}
		if o.ImageId != nil {
			s.override = o
		}
		if s.spec == base.spec && s.override == nil {
			used = true
			continue
		}
		all = append(all, s)
	}
	if used {
		all = append([]*slot{base}, all...)
	}
	return all
}

// resolve finds out what slots mean now.
func (s *session) resolve(ctx context.Context, all []*slot) error {
	said := map[string][]string{}
	for _, one := range all {
		id := awssdk.ToString(one.spec.LaunchTemplateId)
		if id == "" {
			return fmt.Errorf("the group has no launch template: %w", cloud.ErrUnsupported)
		}
		one.id = id
		if !slices.Contains(said[id], one.says()) {
			said[id] = append(said[id], one.says())
		}
	}
	images := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(said)) {
		versions, err := s.versions(ctx, id, said[id])
		if err != nil {
			return err
		}
		for _, one := range all {
			if one.id != id {
				continue
			}
			v := versions[one.says()]
			one.number = awssdk.ToInt64(v.VersionNumber)
			image := awssdk.ToString(v.LaunchTemplateData.ImageId)
			if one.override != nil {
				image = *one.override.ImageId
			}
			if one.image, err = s.imageOf(ctx, image, images); err != nil {
				return err
			}
		}
	}
	return nil
}

// versions of a template, by how they were asked for. One that does not exist makes its
// group invalid, which does exist.
func (s *session) versions(ctx context.Context, id string, asked []string) (map[string]ec2types.LaunchTemplateVersion, error) {
	out, err := call(ctx, s, s.ec2.DescribeLaunchTemplateVersions, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &id, Versions: asked})
	if errors.Is(err, cloud.ErrNotFound) {
		return nil, as(cloud.ErrInvalid, err, "launch template %s, version %s", id, strings.Join(asked, ", "))
	}
	if err != nil {
		return nil, err
	}
	found := map[string]ec2types.LaunchTemplateVersion{}
	for _, v := range out.LaunchTemplateVersions {
		if v.LaunchTemplateData == nil {
			v.LaunchTemplateData = &ec2types.ResponseLaunchTemplateData{}
		}
		number := awssdk.ToInt64(v.VersionNumber)
		found[strconv.FormatInt(number, 10)] = v
		if awssdk.ToBool(v.DefaultVersion) {
			found[fallback] = v
		}
		// No version is newer than the latest, if that was asked for too.
		if before, ok := found[latest]; !ok || number > *before.VersionNumber {
			found[latest] = v
		}
	}
	for _, version := range asked {
		if _, ok := found[version]; !ok {
			return nil, fmt.Errorf("launch template %s has no version %s: %w", id, version, cloud.ErrInvalid)
		}
	}
	return found, nil
}

// imageOf is the image that a template means: it may name a parameter. known are those
// that were read before.
func (s *session) imageOf(ctx context.Context, image string, known map[string]string) (string, error) {
	parameter, ok := strings.CutPrefix(image, "resolve:ssm:")
	if !ok {
		return image, nil
	}
	if id, ok := known[parameter]; ok {
		return id, nil
	}
	id, err := s.parameter(ctx, parameter)
	if errors.Is(err, cloud.ErrNotFound) {
		return "", as(cloud.ErrInvalid, err, "the image %s of the launch template", image)
	}
	known[parameter] = id
	return id, err
}

func (s *session) parameter(ctx context.Context, name string) (string, error) {
	out, err := call(ctx, s, s.ssm.GetParameter, &ssm.GetParameterInput{Name: &name})
	if err != nil {
		return "", err
	}
	return awssdk.ToString(out.Parameter.Value), nil
}

func reference(id string, number int64) string { return id + ":" + strconv.FormatInt(number, 10) }

// revision of slots that are resolved.
func revision(all []*slot) cloud.Revision {
	var r cloud.Revision
	var templates []string
	for _, s := range all {
		if t := reference(s.id, s.number); !slices.Contains(templates, t) {
			templates = append(templates, t)
		}
		if s.image != "" && !slices.Contains(r.Images, s.image) {
			r.Images = append(r.Images, s.image)
		}
	}
	slices.Sort(r.Images)
	r.Template = strings.Join(templates, ",")
	return r
}
