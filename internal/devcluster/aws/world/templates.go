package world

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Template is a launch template.
type Template struct {
	LaunchTemplateId   string
	LaunchTemplateName string
	CreateTime         time.Time
	CreatedBy          string
	// DefaultVersionNumber is what $Default is, and LatestVersionNumber what $Latest is
	// and was: numbers are not used again.
	DefaultVersionNumber, LatestVersionNumber int
	Tags                                      []Tag `ec2:",tagSet"`
}

// TemplateVersion is one version of a launch template.
type TemplateVersion struct {
	LaunchTemplateId   string
	LaunchTemplateName string
	VersionNumber      int
	VersionDescription string
	CreateTime         time.Time
	CreatedBy          string
	DefaultVersion     bool
	LaunchTemplateData TemplateData
}

// TemplateData is what is known here of what a launch template says. The first name of
// a tag is that of requests, the second that of answers.
type TemplateData struct {
	ImageId               string
	InstanceType          string
	KeyName               string
	UserData              string
	EbsOptimized          *bool
	IamInstanceProfile    *Profile
	BlockDeviceMappings   []BlockDevice     `ec2:"BlockDeviceMapping,blockDeviceMappingSet"`
	NetworkInterfaces     []TemplateNetwork `ec2:"NetworkInterface,networkInterfaceSet"`
	Monitoring            *Monitoring
	Placement             *TemplatePlacement
	InstanceMarketOptions *MarketOptions
	MetadataOptions       *MetadataOptions
	SecurityGroupIds      []string           `ec2:"SecurityGroupId,securityGroupIdSet"`
	TagSpecifications     []TagSpecification `ec2:"TagSpecification,tagSpecificationSet"`
}

// Profile is an instance profile.
type Profile struct {
	Arn, Name string
}

// BlockDevice is a volume that comes with an instance.
type BlockDevice struct {
	DeviceName string
	Ebs        *EbsDevice
}

// EbsDevice says what a volume is like.
type EbsDevice struct {
	DeleteOnTermination *bool
	Encrypted           *bool
	Iops                *int
	KmsKeyId            string
	SnapshotId          string
	Throughput          *int
	VolumeSize          *int
	VolumeType          string
}

// TemplateNetwork is a network interface of a launch template.
type TemplateNetwork struct {
	DeviceIndex              *int
	SubnetId                 string
	Groups                   []string `ec2:"SecurityGroupId,groupSet,groupId"`
	AssociatePublicIpAddress *bool
	DeleteOnTermination      *bool
}

// Monitoring is whether there is detailed monitoring.
type Monitoring struct{ Enabled *bool }

// TemplatePlacement is where a template wants its instances.
type TemplatePlacement struct {
	AvailabilityZone, GroupName, Tenancy string
}

// MarketOptions ask for spot capacity.
type MarketOptions struct {
	MarketType  string
	SpotOptions *SpotOptions
}

// SpotOptions say how spot capacity is asked for.
type SpotOptions struct {
	MaxPrice                     string
	SpotInstanceType             string
	InstanceInterruptionBehavior string
}

// MetadataOptions are about the instance metadata service.
type MetadataOptions struct {
	HttpEndpoint            string
	HttpTokens              string
	HttpPutResponseHopLimit *int
	InstanceMetadataTags    string
}

// TagSpecification tags what is made together with something.
type TagSpecification struct {
	ResourceType string
	Tags         []Tag `ec2:"Tag,tagSet"`
}

const ofTemplate = "launch-template"

// CreateLaunchTemplateInput is what is known here of the action's input. The inputs and
// outputs of the other actions are named and made alike.
type CreateLaunchTemplateInput struct {
	LaunchTemplateName string
	VersionDescription string
	LaunchTemplateData TemplateData
	TagSpecifications  []TagSpecification `ec2:"TagSpecification"`
	ClientToken        string
}

type LaunchTemplateOutput struct {
	LaunchTemplate Template
}

func (s *State) CreateLaunchTemplate(in *CreateLaunchTemplateInput) (*LaunchTemplateOutput, error) {
	if in.LaunchTemplateName == "" {
		return nil, refuse("MissingParameter", "a launch template needs a name")
	}
	if _, err := s.template("", in.LaunchTemplateName); err == nil {
		return nil, refuse("InvalidLaunchTemplateName.AlreadyExistsException", "there is a launch template %s already", in.LaunchTemplateName)
	}
	tags, err := tagsFor(ofTemplate, in.TagSpecifications, ofTemplate)
	if err != nil {
		return nil, err
	}
	t := &Template{
		LaunchTemplateId: s.identify("lt-"), LaunchTemplateName: in.LaunchTemplateName, CreateTime: s.Now,
		CreatedBy: s.caller(), DefaultVersionNumber: 1, Tags: tags,
	}
	s.Templates[t.LaunchTemplateId] = t
	s.addVersion(t, in.VersionDescription, in.LaunchTemplateData)
	return &LaunchTemplateOutput{*t}, nil
}

// tagsFor returns the tags for one type of resource; the specifications may be for some
// types only.
func tagsFor(resource string, specifications []TagSpecification, allowed ...string) ([]Tag, error) {
	var tags []Tag
	for _, spec := range specifications {
		if !slices.Contains(allowed, spec.ResourceType) {
			return nil, refuse("InvalidParameterValue", "%q is not a valid taggable resource type for this operation", spec.ResourceType)
		}
		if spec.ResourceType == resource {
			tags = setTags(tags, spec.Tags)
		}
	}
	return tags, nil
}

func (s *State) addVersion(t *Template, description string, data TemplateData) *TemplateVersion {
	t.LatestVersionNumber++
	v := &TemplateVersion{
		LaunchTemplateId: t.LaunchTemplateId, LaunchTemplateName: t.LaunchTemplateName, VersionNumber: t.LatestVersionNumber,
		VersionDescription: description, CreateTime: s.Now, CreatedBy: t.CreatedBy, LaunchTemplateData: data,
	}
	if s.Versions[t.LaunchTemplateId] == nil {
		s.Versions[t.LaunchTemplateId] = map[int]*TemplateVersion{}
	}
	s.Versions[t.LaunchTemplateId][v.VersionNumber] = v
	return v
}

// template finds one by its ID or, without one, by its name.
func (s *State) template(id, name string) (*Template, error) {
	if id != "" && name != "" {
		return nil, refuse("InvalidParameterCombination", "give a launch template's ID or its name, not both")
	}
	if id != "" {
		if t, ok := s.Templates[id]; ok {
			return t, nil
		}
		return nil, refuse("InvalidLaunchTemplateId.NotFound", "there is no launch template %s", id)
	}
	for _, t := range s.Templates {
		if t.LaunchTemplateName == name {
			return t, nil
		}
	}
	return nil, refuse("InvalidLaunchTemplateName.NotFoundException", "there is no launch template named %q", name)
}

// version finds the version that a number, $Latest or $Default is now.
func (s *State) version(t *Template, version string) (*TemplateVersion, error) {
	number := 0
	switch version {
	case "", "$Default":
		number = t.DefaultVersionNumber
	case "$Latest":
		number = s.newest(t)
	default:
		var err error
		if number, err = strconv.Atoi(version); err != nil {
			return nil, refuse("InvalidLaunchTemplateId.VersionNotFound", "%q is no version", version)
		}
	}
	v, ok := s.Versions[t.LaunchTemplateId][number]
	if !ok {
		return nil, refuse("InvalidLaunchTemplateId.VersionNotFound", "launch template %s has no version %s", t.LaunchTemplateId, version)
	}
	return v, nil
}

// newest is the highest version that there is: the latest may have been deleted.
func (s *State) newest(t *Template) int {
	highest := 0
	for n := range s.Versions[t.LaunchTemplateId] {
		highest = max(highest, n)
	}
	return highest
}

type CreateLaunchTemplateVersionInput struct {
	LaunchTemplateId   string
	LaunchTemplateName string
	SourceVersion      string
	VersionDescription string
	LaunchTemplateData TemplateData
	ClientToken        string
}

type LaunchTemplateVersionOutput struct {
	LaunchTemplateVersion TemplateVersion
}

func (s *State) CreateLaunchTemplateVersion(in *CreateLaunchTemplateVersionInput) (*LaunchTemplateVersionOutput, error) {
	t, err := s.template(in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	data := in.LaunchTemplateData
	if in.SourceVersion != "" {
		source, err := s.version(t, in.SourceVersion)
		if err != nil {
			return nil, err
		}
		data = overlay(source.LaunchTemplateData, data)
	}
	v := s.addVersion(t, in.VersionDescription, data)
	s.templateChanged()
	return &LaunchTemplateVersionOutput{s.shown(t, v)}, nil
}

// shown is a version as it is described: whether it is the default is no part of it.
func (s *State) shown(t *Template, v *TemplateVersion) TemplateVersion {
	shown := *v
	shown.DefaultVersion = v.VersionNumber == t.DefaultVersionNumber
	return shown
}

// templateChanged makes groups that failed to launch try again soon.
func (s *State) templateChanged() {
	for _, g := range s.Groups {
		if !g.Due.IsZero() {
			s.touch(g)
		}
	}
}

type ModifyLaunchTemplateInput struct {
	LaunchTemplateId   string
	LaunchTemplateName string
	DefaultVersion     string `ec2:"SetDefaultVersion"`
	ClientToken        string
}

func (s *State) ModifyLaunchTemplate(in *ModifyLaunchTemplateInput) (*LaunchTemplateOutput, error) {
	t, err := s.template(in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	v, err := s.version(t, in.DefaultVersion)
	if err != nil {
		return nil, err
	}
	t.DefaultVersionNumber = v.VersionNumber
	s.templateChanged()
	return &LaunchTemplateOutput{*t}, nil
}

type DeleteLaunchTemplateInput struct {
	LaunchTemplateId   string
	LaunchTemplateName string
}

func (s *State) DeleteLaunchTemplate(in *DeleteLaunchTemplateInput) (*LaunchTemplateOutput, error) {
	t, err := s.template(in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	delete(s.Templates, t.LaunchTemplateId)
	delete(s.Versions, t.LaunchTemplateId)
	return &LaunchTemplateOutput{*t}, nil
}

type DeleteLaunchTemplateVersionsInput struct {
	LaunchTemplateId   string
	LaunchTemplateName string
	Versions           []string `ec2:"LaunchTemplateVersion"`
}

type DeleteLaunchTemplateVersionsOutput struct {
	SuccessfullyDeletedLaunchTemplateVersions   []DeletedVersion   `ec2:",successfullyDeletedLaunchTemplateVersionSet"`
	UnsuccessfullyDeletedLaunchTemplateVersions []UndeletedVersion `ec2:",unsuccessfullyDeletedLaunchTemplateVersionSet"`
}

type DeletedVersion struct {
	LaunchTemplateId   string
	LaunchTemplateName string
	VersionNumber      int
}

type UndeletedVersion struct {
	LaunchTemplateId   string
	LaunchTemplateName string
	VersionNumber      int
	ResponseError      struct{ Code, Message string }
}

func (s *State) DeleteLaunchTemplateVersions(in *DeleteLaunchTemplateVersionsInput) (*DeleteLaunchTemplateVersionsOutput, error) {
	t, err := s.template(in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	out := &DeleteLaunchTemplateVersionsOutput{}
	for _, version := range in.Versions {
		number, _ := strconv.Atoi(version)
		failed := UndeletedVersion{LaunchTemplateId: t.LaunchTemplateId, LaunchTemplateName: t.LaunchTemplateName, VersionNumber: number}
		switch _, ok := s.Versions[t.LaunchTemplateId][number]; {
		case !ok:
			failed.ResponseError.Code, failed.ResponseError.Message = "launchTemplateVersionDoesNotExist", "there is no version "+version
			out.UnsuccessfullyDeletedLaunchTemplateVersions = append(out.UnsuccessfullyDeletedLaunchTemplateVersions, failed)
		case number == t.DefaultVersionNumber:
			failed.ResponseError.Code, failed.ResponseError.Message = "unexpectedError", "the default version cannot be deleted"
			out.UnsuccessfullyDeletedLaunchTemplateVersions = append(out.UnsuccessfullyDeletedLaunchTemplateVersions, failed)
		default:
			delete(s.Versions[t.LaunchTemplateId], number)
			out.SuccessfullyDeletedLaunchTemplateVersions = append(out.SuccessfullyDeletedLaunchTemplateVersions, DeletedVersion{t.LaunchTemplateId, t.LaunchTemplateName, number})
		}
	}
	return out, nil
}

type DescribeLaunchTemplatesInput struct {
	LaunchTemplateIds   []string `ec2:"LaunchTemplateId"`
	LaunchTemplateNames []string `ec2:"LaunchTemplateName"`
	Filters             []Filter `ec2:"Filter"`
	MaxResults          *int
	NextToken           string
}

type DescribeLaunchTemplatesOutput struct {
	LaunchTemplates []Template `ec2:",launchTemplates"`
	NextToken       string
}

func (s *State) DescribeLaunchTemplates(in *DescribeLaunchTemplatesInput) (*DescribeLaunchTemplatesOutput, error) {
	for _, id := range in.LaunchTemplateIds {
		if _, err := s.template(id, ""); err != nil {
			return nil, err
		}
	}
	for _, name := range in.LaunchTemplateNames {
		if _, err := s.template("", name); err != nil {
			return nil, err
		}
	}
	if err := check(in.Filters, new(Template).value); err != nil {
		return nil, err
	}
	var all []Template
	for _, id := range sorted(s.Templates) {
		t := s.Templates[id]
		ok, err := meets(in.Filters, t.Tags, t.value)
		if err != nil {
			return nil, err
		}
		if ok && wanted(in.LaunchTemplateIds, id) && wanted(in.LaunchTemplateNames, t.LaunchTemplateName) {
			all = append(all, *t)
		}
	}
	some, next, err := page(all, func(t Template) string { return t.LaunchTemplateId }, in.NextToken, limit(in.MaxResults, 200))
	return &DescribeLaunchTemplatesOutput{some, next}, err
}

func (t *Template) value(filter string) ([]string, bool) {
	return []string{t.LaunchTemplateName}, filter == "launch-template-name"
}

// wanted is true for all where nobody asked for some.
func wanted(asked []string, name string) bool { return len(asked) == 0 || slices.Contains(asked, name) }

type DescribeLaunchTemplateVersionsInput struct {
	LaunchTemplateId   string
	LaunchTemplateName string
	Versions           []string `ec2:"LaunchTemplateVersion"`
	MinVersion         string
	MaxVersion         string
	MaxResults         *int
	NextToken          string
}

type DescribeLaunchTemplateVersionsOutput struct {
	LaunchTemplateVersions []TemplateVersion `ec2:",launchTemplateVersionSet"`
	NextToken              string
}

// DescribeLaunchTemplateVersions describes those of one template, the newest first, or
// $Latest and $Default of all templates.
func (s *State) DescribeLaunchTemplateVersions(in *DescribeLaunchTemplateVersionsInput) (*DescribeLaunchTemplateVersionsOutput, error) {
	var found []TemplateVersion
	if in.LaunchTemplateId == "" && in.LaunchTemplateName == "" {
		for _, version := range in.Versions {
			if version != "$Latest" && version != "$Default" {
				return nil, refuse("InvalidParameterValue", "without a launch template only $Latest and $Default can be described")
			}
		}
		for _, id := range sorted(s.Templates) {
			some, err := s.versions(s.Templates[id], in)
			if err != nil {
				return nil, err
			}
			found = append(found, some...)
		}
	} else {
		t, err := s.template(in.LaunchTemplateId, in.LaunchTemplateName)
		if err != nil {
			return nil, err
		}
		if found, err = s.versions(t, in); err != nil {
			return nil, err
		}
	}
	key := func(v TemplateVersion) string {
		return fmt.Sprintf("%s/%020d", v.LaunchTemplateId, 1<<40-v.VersionNumber)
	}
	slices.SortFunc(found, func(a, b TemplateVersion) int { return strings.Compare(key(a), key(b)) })
	some, next, err := page(found, key, in.NextToken, limit(in.MaxResults, 200))
	return &DescribeLaunchTemplateVersionsOutput{some, next}, err
}

func (s *State) versions(t *Template, in *DescribeLaunchTemplateVersionsInput) ([]TemplateVersion, error) {
	var found []TemplateVersion
	if len(in.Versions) > 0 {
		for _, version := range in.Versions {
			v, err := s.version(t, version)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(found, func(f TemplateVersion) bool { return f.VersionNumber == v.VersionNumber }) {
				found = append(found, s.shown(t, v))
			}
		}
		return found, nil
	}
	low, high := 0, t.LatestVersionNumber
	var err error
	if in.MinVersion != "" {
		if low, err = strconv.Atoi(in.MinVersion); err != nil {
			return nil, refuse("InvalidParameterValue", "MinVersion %q is no number", in.MinVersion)
		}
	}
	if in.MaxVersion != "" {
		if high, err = strconv.Atoi(in.MaxVersion); err != nil {
			return nil, refuse("InvalidParameterValue", "MaxVersion %q is no number", in.MaxVersion)
		}
	}
	for n, v := range s.Versions[t.LaunchTemplateId] {
		if n >= low && n <= high {
			found = append(found, s.shown(t, v))
		}
	}
	return found, nil
}
