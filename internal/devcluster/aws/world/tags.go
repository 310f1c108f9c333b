package world

import (
	"slices"
	"strconv"
	"strings"
)

type TagsInput struct {
	Resources []string `ec2:"ResourceId"`
	Tags      []Tag    `ec2:"Tag"`
}

// tagged returns where the tags of an EC2 resource are.
func (s *State) tagged(id string) (*[]Tag, error) {
	if i, ok := s.Instances[id]; ok {
		return &i.Tags, nil
	}
	if t, ok := s.Templates[id]; ok {
		return &t.Tags, nil
	}
	if i, ok := s.Images[id]; ok {
		return &i.Tags, nil
	}
	if v, ok := s.Volumes[id]; ok {
		return &v.Tags, nil
	}
	return nil, refuse("InvalidID", "The ID %q is not valid", id)
}

func (s *State) eachTagged(in *TagsInput, do func(*[]Tag)) (*Empty, error) {
	for _, t := range in.Tags {
		if strings.HasPrefix(t.Key, "aws:") {
			return nil, refuse("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		}
	}
	var all []*[]Tag
	for _, id := range in.Resources {
		tags, err := s.tagged(id)
		if err != nil {
			return nil, err
		}
		all = append(all, tags)
	}
	for _, tags := range all {
		do(tags)
	}
	return &Empty{}, nil
}

func (s *State) CreateTags(in *TagsInput) (*Empty, error) {
	return s.eachTagged(in, func(tags *[]Tag) { *tags = setTags(*tags, in.Tags) })
}

// DeleteTags deletes tags with the given value, or with any where none is given.
func (s *State) DeleteTags(in *TagsInput) (*Empty, error) {
	return s.eachTagged(in, func(tags *[]Tag) {
		for _, gone := range in.Tags {
			*tags = slices.DeleteFunc(slices.Clone(*tags), func(t Tag) bool {
				return t.Key == gone.Key && (gone.Value == "" || gone.Value == t.Value)
			})
		}
	})
}

type DescribeTagsInput struct {
	Filters    []Filter `ec2:"Filter"`
	MaxResults *int
	NextToken  string
}

type DescribeTagsOutput struct {
	Tags      []TagDescription `ec2:",tagSet"`
	NextToken string
}

// TagDescription is a tag and whose it is.
type TagDescription struct{ ResourceId, ResourceType, Key, Value string }

func (s *State) DescribeTags(in *DescribeTagsInput) (*DescribeTagsOutput, error) {
	var all []TagDescription
	add := func(kind, id string, tags []Tag) {
		for _, t := range tags {
			all = append(all, TagDescription{id, kind, t.Key, t.Value})
		}
	}
	for id, i := range s.Instances {
		add("instance", id, i.Tags)
	}
	for id, t := range s.Templates {
		add(ofTemplate, id, t.Tags)
	}
	for id, i := range s.Images {
		add("image", id, i.Tags)
	}
	for id, v := range s.Volumes {
		add("volume", id, v.Tags)
	}
	if err := check(in.Filters, TagDescription{}.value); err != nil {
		return nil, err
	}
	var found []TagDescription
	for _, t := range all {
		ok, err := meets(in.Filters, []Tag{{t.Key, t.Value}}, t.value)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, t)
		}
	}
	key := func(t TagDescription) string { return t.ResourceId + "/" + t.Key }
	slices.SortFunc(found, func(a, b TagDescription) int { return strings.Compare(key(a), key(b)) })
	some, next, err := page(found, key, in.NextToken, limit(in.MaxResults, 1000))
	return &DescribeTagsOutput{some, next}, err
}

func (t TagDescription) value(filter string) ([]string, bool) {
	v, ok := map[string]string{"resource-id": t.ResourceId, "resource-type": t.ResourceType, "key": t.Key, "value": t.Value}[filter]
	return []string{v}, ok
}

type GroupTagsInput struct{ Tags []GroupTag }

func (s *State) taggedGroups(in *GroupTagsInput) ([]*Group, error) {
	var all []*Group
	for _, t := range in.Tags {
		if t.ResourceType != groupResource {
			return nil, invalid("ResourceType is %q: want %s", t.ResourceType, groupResource)
		}
		g, err := s.group(t.ResourceId)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

const groupResource = "auto-scaling-group"

func (s *State) CreateOrUpdateTags(in *GroupTagsInput) (*Empty, error) {
	groups, err := s.taggedGroups(in)
	if err != nil {
		return nil, err
	}
	for n, g := range groups {
		setGroupTags(g, in.Tags[n:n+1])
	}
	return &Empty{}, nil
}

func setGroupTags(g *Group, tags []GroupTag) {
	all := slices.Clone(g.Tags)
	for _, t := range tags {
		t.ResourceId, t.ResourceType = g.Name, groupResource
		all = append(slices.DeleteFunc(all, func(o GroupTag) bool { return o.Key == t.Key }), t)
	}
	slices.SortFunc(all, func(a, b GroupTag) int { return strings.Compare(a.Key, b.Key) })
	g.Tags = all
}

func (s *State) DeleteGroupTags(in *GroupTagsInput) (*Empty, error) {
	groups, err := s.taggedGroups(in)
	if err != nil {
		return nil, err
	}
	for n, g := range groups {
		gone := in.Tags[n]
		g.Tags = slices.DeleteFunc(slices.Clone(g.Tags), func(t GroupTag) bool {
			return t.Key == gone.Key && (gone.Value == "" || gone.Value == t.Value)
		})
	}
	return &Empty{}, nil
}

type DescribeGroupTagsInput struct {
	Filters    []Filter
	MaxRecords *int
	NextToken  string
}

type DescribeGroupTagsOutput struct {
	Tags      []GroupTag
	NextToken string
}

func (s *State) DescribeGroupTags(in *DescribeGroupTagsInput) (*DescribeGroupTagsOutput, error) {
	if err := check(in.Filters, GroupTag{}.value); err != nil {
		return nil, invalid("%v", err)
	}
	var found []GroupTag
	for _, name := range sorted(s.Groups) {
		for _, t := range s.Groups[name].Tags {
			ok, err := meets(in.Filters, nil, t.value)
			if err != nil {
				return nil, invalid("%v", err)
			}
			if ok {
				found = append(found, t)
			}
		}
	}
	key := func(t GroupTag) string { return t.ResourceId + "/" + t.Key }
	slices.SortFunc(found, func(a, b GroupTag) int { return strings.Compare(key(a), key(b)) })
	some, next, err := page(found, key, in.NextToken, limit(in.MaxRecords, 100))
	return &DescribeGroupTagsOutput{some, next}, err
}

func (t GroupTag) value(filter string) ([]string, bool) {
	v, ok := map[string]string{"auto-scaling-group": t.ResourceId, "key": t.Key, "value": t.Value, "propagate-at-launch": strconv.FormatBool(t.PropagateAtLaunch)}[filter]
	return []string{v}, ok
}
