package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"windlass.dev/internal/cloud"
)

// aiming makes a target what the new machines of a group are made from.
//
// A group that follows the newest version of its template keeps following it when images
// are applied, because the version that is written is the newest; and one that follows the
// default keeps following that, because the default is moved. A group that follows the
// newest has to be pinned to go to another version than that.
type aiming struct {
	*session
	group *astypes.AutoScalingGroup
	slots []*slot
	run   string

	// written is by template, number and image, and moved by template.
	written map[string]int64
	moved   map[string]int64
	// changed is true if the group itself has to be updated.
	changed bool
}

// aim does nothing for an empty target, and nothing that is done already.
func (s *session) aim(ctx context.Context, g *astypes.AutoScalingGroup, target cloud.Target, run string) error {
	if len(target.Images) == 0 && target.TemplateVersion == "" && target.Template == "" {
		return nil
	}
	a := &aiming{session: s, group: g, slots: slots(g), run: run, written: map[string]int64{}, moved: map[string]int64{}}
	if err := s.resolve(ctx, a.slots); err != nil {
		return err
	}
	var err error
	switch {
	case len(target.Images) > 0:
		err = a.applyImages(ctx, target.Images)
	case target.TemplateVersion != "":
		err = a.applyVersion(ctx, target.TemplateVersion)
	default:
		err = a.applyTemplate(ctx, target.Template)
	}
	if err != nil || !a.changed {
		return err
	}
	return a.update(ctx)
}

// update writes the group's templates back, each by its id.
func (a *aiming) update(ctx context.Context) error {
	if m := a.group.MixedInstancesPolicy; m != nil {
		m.LaunchTemplate.LaunchTemplateSpecification.LaunchTemplateName = nil
		for _, o := range m.LaunchTemplate.Overrides {
			if o.LaunchTemplateSpecification != nil {
				o.LaunchTemplateSpecification.LaunchTemplateName = nil
			}
		}
	} else {
		a.group.LaunchTemplate.LaunchTemplateName = nil
	}
	_, err := call(ctx, a.session, a.asg.UpdateAutoScalingGroup, &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: a.group.AutoScalingGroupName, LaunchTemplate: a.group.LaunchTemplate, MixedInstancesPolicy: a.group.MixedInstancesPolicy,
	})
	return err
}

func (a *aiming) applyImages(ctx context.Context, wanted []string) error {
	byArchitecture, architectures, err := a.architectures(ctx, wanted)
	if err != nil {
		return err
	}
	// All of it is checked before any of it is written.
	for _, s := range a.slots {
		if architectures[s.image] == "" {
			return fmt.Errorf("nothing says which architecture launch template %s is for: its image %q is gone, and no machine was made from it: %w", reference(s.id, s.number), s.image, cloud.ErrInvalid)
		}
		if byArchitecture[architectures[s.image]] == "" {
			return fmt.Errorf("none of the images %s is for %s, as launch template %s is: %w", strings.Join(wanted, ", "), architectures[s.image], reference(s.id, s.number), cloud.ErrInvalid)
		}
	}
	for _, s := range a.slots {
		image := byArchitecture[architectures[s.image]]
		switch {
		case s.image == image:
		case s.override != nil:
			s.override.ImageId, a.changed = &image, true
		default:
			if err := a.write(ctx, s, image); err != nil {
				return err
			}
		}
	}
	return nil
}

// architectures finds the wanted images by their architecture, and the architectures of the
// images that the group has now.
func (a *aiming) architectures(ctx context.Context, wanted []string) (byArchitecture, architectures map[string]string, err error) {
	asked := slices.Clone(wanted)
	for _, s := range a.slots {
		if s.image != "" {
			asked = append(asked, s.image)
		}
	}
	found, err := a.images(ctx, asked)
	if err != nil {
		return nil, nil, err
	}
	byArchitecture, architectures = map[string]string{}, map[string]string{}
	for id, image := range found {
		architectures[id] = string(image.Architecture)
	}
	for _, id := range wanted {
		architecture := architectures[id]
		if architecture == "" {
			return nil, nil, fmt.Errorf("there is no image %s that can be used here: %w", id, cloud.ErrInvalid)
		}
		if other := byArchitecture[architecture]; other != "" && other != id {
			return nil, nil, fmt.Errorf("the images %s and %s are both for %s: %w", other, id, architecture, cloud.ErrInvalid)
		}
		byArchitecture[architecture] = id
	}
	for _, s := range a.slots {
		if architectures[s.image] == "" {
			return byArchitecture, architectures, a.askMachines(ctx, architectures)
		}
	}
	return byArchitecture, architectures, nil
}

// askMachines fills in the architectures of images that are gone, from what still runs them.
func (a *aiming) askMachines(ctx context.Context, architectures map[string]string) error {
	instances, err := a.instances(ctx, members(a.group))
	for _, i := range instances {
		if id := awssdk.ToString(i.ImageId); architectures[id] == "" {
			architectures[id] = string(i.Architecture)
		}
	}
	return err
}

// write makes a version of a template that differs from the slot's in its image only. Its
// token is that of the run and of what it is, so that nothing that is repeated makes another
// one, for this group or for one that shares the template.
func (a *aiming) write(ctx context.Context, s *slot, image string) error {
	key := reference(s.id, s.number) + " " + image
	number, ok := a.written[key]
	if !ok {
		hash := sha256.Sum256([]byte(a.run + " " + key))
		out, err := call(ctx, a.session, a.ec2.CreateLaunchTemplateVersion, &ec2.CreateLaunchTemplateVersionInput{
			ClientToken: new(hex.EncodeToString(hash[:])), LaunchTemplateId: &s.id, SourceVersion: new(strconv.FormatInt(s.number, 10)),
			VersionDescription: new("Windlass run " + a.run), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: &image},
		})
		if err != nil {
			return fmt.Errorf("write a version of launch template %s: %w", s.id, err)
		}
		number = *out.LaunchTemplateVersion.VersionNumber
		a.written[key] = number
	}
	if s.says() == latest {
		return nil // It is what the group follows already.
	}
	return a.set(ctx, s, number)
}

// set makes a slot use a version of its template.
func (a *aiming) set(ctx context.Context, s *slot, number int64) error {
	if s.number == number {
		return nil
	}
	if s.says() == fallback {
		if a.moved[s.id] == number {
			return nil
		}
		_, err := call(ctx, a.session, a.ec2.ModifyLaunchTemplate, &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: &s.id, DefaultVersion: new(strconv.FormatInt(number, 10))})
		a.moved[s.id] = number
		return err
	}
	// A specification that several slots share is changed once.
	s.spec.Version, a.changed = new(strconv.FormatInt(number, 10)), true
	return nil
}

func (a *aiming) applyVersion(ctx context.Context, version string) error {
	id := a.slots[0].id
	for _, s := range a.slots {
		if s.id != id {
			return fmt.Errorf("the group has several launch templates, %s and %s, and not one that has a version %s: %w", id, s.id, version, cloud.ErrInvalid)
		}
	}
	found, err := a.versions(ctx, id, []string{version})
	if err != nil {
		return err
	}
	for _, s := range a.slots {
		if err := a.set(ctx, s, *found[version].VersionNumber); err != nil {
			return err
		}
	}
	return nil
}

// applyTemplate goes back to what revision said.
func (a *aiming) applyTemplate(ctx context.Context, template string) error {
	wanted := map[string]int64{}
	for one := range strings.SplitSeq(template, ",") {
		id, version, _ := strings.Cut(one, ":")
		number, err := strconv.ParseInt(version, 10, 64)
		if _, twice := wanted[id]; err != nil || twice {
			return fmt.Errorf("%q are no launch templates, each with one version: %w", template, cloud.ErrInvalid)
		}
		wanted[id] = number
	}
	for _, s := range a.slots {
		number, ok := wanted[s.id]
		switch {
		case !ok:
			return fmt.Errorf("the group's launch template %s is none of %s: %w", s.id, template, cloud.ErrInvalid)
		case s.override != nil:
			return fmt.Errorf("the group has images apart from its launch templates: %w", cloud.ErrUnsupported)
		case s.number == number:
			continue
		}
		if _, err := a.versions(ctx, s.id, []string{strconv.FormatInt(number, 10)}); err != nil {
			return err
		}
	}
	var all error
	for _, s := range a.slots {
		all = errors.Join(all, a.set(ctx, s, wanted[s.id]))
	}
	return all
}
