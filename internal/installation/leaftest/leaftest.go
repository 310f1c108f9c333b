// Package leaftest checks that every field of a custom resource counts. It is for tests.
package leaftest

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"windlass.dev/internal/kit/plan"
)

// Suite is a definition, and what it takes to try each of its fields.
type Suite struct {
	// File is that of the definition.
	File string
	// Idle are the leaves that change nothing when they are set alone, and why that is
	// right. A path that ends in * stands for all that begin with it.
	Idle map[string]string
	// Samples are values for strings that not every text will do for, by field.
	Samples map[string]string
	// Bases are the specs, as YAML, in which a part counts, by the beginning of the path;
	// the longest wins, over that of "spec".
	Bases map[string]string
	// World is what a spec comes to.
	World func(t *testing.T, path string, spec any) any
	// AtLeast so many leaves are found.
	AtLeast int
}

// Check sets each field of the definition alone, in a resource that uses the part of the
// spec that it belongs to, and wants to see a difference in what that comes to.
func (s Suite) Check(t *testing.T) {
	t.Helper()
	excused := map[string]bool{}
	count := 0
	s.walk(s.definition(t), "spec", nil, func(path string, way []step) {
		count++
		changed := !reflect.DeepEqual(s.world(t, path, grow(way, false)), s.world(t, path, grow(way, true)))
		pattern, excuse := s.excuseOf(path)
		switch {
		case !changed && !excuse:
			t.Errorf("%s changes nothing", path)
		case !changed:
			excused[pattern] = true
		}
	})
	if count < s.AtLeast {
		t.Errorf("only %d leaves were found", count)
	}
	for pattern := range s.Idle {
		if !excused[pattern] {
			t.Errorf("%s is excused without need", pattern)
		}
	}
}

func (s Suite) world(t *testing.T, path string, part any) any {
	t.Helper()
	return s.World(t, path, overlay(s.baseOf(t, path), part))
}

func (s Suite) excuseOf(path string) (pattern string, ok bool) {
	for pattern := range s.Idle {
		if prefix, all := strings.CutSuffix(pattern, "*"); path == pattern || all && strings.HasPrefix(path, prefix) {
			return pattern, true
		}
	}
	return "", false
}

func (s Suite) definition(t *testing.T) apiextensionsv1.JSONSchemaProps {
	t.Helper()
	content, err := os.ReadFile(s.File)
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(content, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
}

// step leads from an object to one of its fields, or from a list to its only item,
// when field is empty.
type step struct {
	field string
	// required are the siblings without which the API server takes nothing.
	required map[string]any
	// value is set at the end of the way.
	value any
}

// walk calls found for each leaf of a schema, with the way to it.
func (s Suite) walk(schema apiextensionsv1.JSONSchemaProps, path string, way []step, found func(path string, way []step)) {
	switch {
	case len(schema.Properties) > 0:
		for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
			required := map[string]any{}
			for _, other := range schema.Required {
				if other != name {
					required[other] = s.sample(schema.Properties[other], other)
				}
			}
			s.walk(schema.Properties[name], path+"."+name, append(slices.Clone(way), step{field: name, required: required}), found)
		}
	case schema.Type == "array":
		s.walk(*schema.Items.Schema, path+"[]", append(slices.Clone(way), step{}), found)
	default:
		name := strings.TrimSuffix(path[strings.LastIndex(path, ".")+1:], "[]")
		way = slices.Clone(way)
		way[len(way)-1].value = s.sample(schema, name)
		found(path, way)
	}
}

// grow returns what the way stands for, with its leaf or only with what has to be
// around it.
func grow(way []step, leaf bool) any {
	first, rest := way[0], way[1:]
	var value any
	switch {
	case len(rest) > 0:
		value = grow(rest, leaf)
	case leaf:
		value = first.value
	}
	if first.field == "" {
		if value == nil {
			return []any{}
		}
		return []any{value}
	}
	object := maps.Clone(first.required)
	if value != nil {
		object[first.field] = value
	}
	return object
}

// sample returns a value that the schema allows and that is no default.
func (s Suite) sample(schema apiextensionsv1.JSONSchemaProps, name string) any {
	if len(schema.Enum) > 0 {
		var value any
		_ = json.Unmarshal(schema.Enum[len(schema.Enum)-1].Raw, &value)
		return value
	}
	switch {
	case schema.XIntOrString, schema.Type == "integer":
		return int64(7)
	case schema.Type == "boolean":
		return true
	case schema.Type == "array":
		return []any{s.sample(*schema.Items.Schema, name)}
	case schema.AdditionalProperties != nil:
		return map[string]any{"example": s.sample(*schema.AdditionalProperties.Schema, name)}
	case schema.Type == "object":
		all := map[string]any{}
		for _, required := range schema.Required {
			all[required] = s.sample(schema.Properties[required], required)
		}
		return all
	case s.Samples[name] != "":
		return s.Samples[name]
	default:
		return "example"
	}
}

// baseOf returns the spec in which a path is tried.
func (s Suite) baseOf(t *testing.T, path string) map[string]any {
	t.Helper()
	longest := "spec"
	for prefix := range s.Bases {
		if (path == prefix || strings.HasPrefix(path, prefix+".") || strings.HasPrefix(path, prefix+"[")) && len(prefix) > len(longest) {
			longest = prefix
		}
	}
	spec := map[string]any{}
	for _, text := range []string{s.Bases["spec"], s.Bases[longest]} {
		var part map[string]any
		if err := yaml.Unmarshal([]byte(text), &part); err != nil {
			t.Fatal(err)
		}
		maps.Copy(spec, part)
	}
	return spec
}

// overlay puts the second over the first, objects field by field.
func overlay(under, over any) any {
	a, isObject := under.(map[string]any)
	b, ok := over.(map[string]any)
	if !isObject || !ok {
		return over
	}
	merged := maps.Clone(a)
	for key, value := range b {
		if have, exists := merged[key]; exists {
			value = overlay(have, value)
		}
		merged[key] = value
	}
	return merged
}

// Told is what steps do: the objects that they apply, and all else as JSON. Those of which
// silent is true tell of every field, and so of nothing.
func Told(t *testing.T, steps []plan.Step, silent func(plan.Action) bool) []any {
	t.Helper()
	var all []any
	for _, step := range steps {
		if apply, ok := step.Action.(plan.Apply); ok {
			all = append(all, apply.Object.Object)
		} else if !silent(step.Action) {
			content, err := json.Marshal(step.Action)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(content))
		}
	}
	return all
}
