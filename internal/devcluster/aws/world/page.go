package world

import (
	"encoding/base64"
	"path"
	"slices"
	"strings"
)

// page returns those of the items that come after the token, at most limit, and the
// token that continues. It names an item and not a position, so that what comes and goes
// between two pages shifts nothing.
func page[T any](items []T, key func(T) string, token string, limit int) (some []T, next string, err error) {
	start := 0
	if token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return nil, "", refuse("InvalidNextToken", "the token %q is not one of ours", token)
		}
		for start < len(items) && key(items[start]) <= string(last) {
			start++
		}
	}
	end := min(start+limit, len(items))
	if end < len(items) {
		next = base64.RawURLEncoding.EncodeToString([]byte(key(items[end-1])))
	}
	return items[start:end], next, nil
}

// limit is what a caller asked for, or the most that a page has.
func limit(asked *int, most int) int {
	if asked == nil || *asked <= 0 || *asked > most {
		return most
	}
	return *asked
}

// Filter is met by whoever has one of the values.
type Filter struct {
	Name   string
	Values []string `ec2:"Value"`
}

// Tag is a key and its value.
type Tag struct {
	Key, Value string
}

// check refuses names of filters that the action does not know. of is that of any thing.
func check(filters []Filter, of func(name string) (values []string, ok bool)) error {
	_, err := meets(filters, nil, of)
	return err
}

// meets reports whether a thing meets all filters. of returns the values that it has for
// a filter's name; ok is false for a name that the action does not know.
func meets(filters []Filter, tags []Tag, of func(name string) (values []string, ok bool)) (bool, error) {
	all := true
	for _, f := range filters {
		values, err := values(f.Name, tags, of)
		if err != nil {
			return false, err
		}
		all = all && slices.ContainsFunc(values, func(v string) bool { return matches(f.Values, v) })
	}
	return all, nil
}

func values(name string, tags []Tag, of func(string) ([]string, bool)) ([]string, error) {
	if key, ok := strings.CutPrefix(name, "tag:"); ok {
		return tagValues(tags, func(t Tag) bool { return t.Key == key }, func(t Tag) string { return t.Value }), nil
	}
	if name == "tag-key" {
		return tagValues(tags, func(Tag) bool { return true }, func(t Tag) string { return t.Key }), nil
	}
	values, ok := of(name)
	if !ok {
		return nil, refuse("InvalidParameterValue", "the filter %q is not known here", name)
	}
	return values, nil
}

func tagValues(tags []Tag, which func(Tag) bool, what func(Tag) string) []string {
	var all []string
	for _, t := range tags {
		if which(t) {
			all = append(all, what(t))
		}
	}
	return all
}

// matches knows * and ? as filters do.
func matches(patterns []string, value string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		// Slashes are letters like others: path.Match keeps them apart.
		flat := strings.NewReplacer("/", "\x00", "[", `\[`)
		ok, err := path.Match(flat.Replace(p), strings.ReplaceAll(value, "/", "\x00"))
		return err == nil && ok
	})
}

// setTags returns the tags with the new values, in the order of their keys.
func setTags(tags, changed []Tag) []Tag {
	all := slices.Clone(tags)
	for _, c := range changed {
		all = append(dropTag(all, c.Key), c)
	}
	slices.SortFunc(all, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	return all
}

func dropTag(tags []Tag, key string) []Tag {
	return slices.DeleteFunc(slices.Clone(tags), func(t Tag) bool { return t.Key == key })
}
