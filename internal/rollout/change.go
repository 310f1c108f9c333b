package rollout

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"windlass.dev/api/fleet/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
)

type object = map[string]any

// sized are the fields that a size replaces, beside itself.
var sized = []string{"replicas", "resources", "database/replicas", "database/resources", "fileStore/replicas", "fileStore/resources"}

// pathOf is where in a spec a part of a change is; nil for a variable of the environment,
// which is an item of a list.
func pathOf(part string) []string {
	name, key, _ := strings.Cut(part, "/")
	switch name {
	case "env":
		return nil
	case "nodeSelector":
		return []string{"scheduling", "nodeSelector", key}
	case "affinity", "tolerations", "resources":
		return []string{"scheduling", name}
	case "restart":
		return []string{"podTemplate", "extraAnnotations", v1alpha1.RestartAnnotation}
	case "database", "fileStore":
		return []string{name, "operatorManaged", key}
	default: // image, version, size and replicas.
		return []string{name}
	}
}

// parts are what a change sets, by name, without what the installation keeps.
func parts(change v1alpha1.InstallationChange, keeps string) map[string]any {
	all := map[string]any{}
	put := func(part, text string) {
		if text != "" {
			all[part] = text
		}
	}
	put("image", change.Image)
	put("version", change.Version)
	put("size", change.Size)
	put("restart", change.Restart)
	for i := range change.Env {
		all["env/"+change.Env[i].Name] = generic(change.Env[i])
	}
	if s := change.Scheduling; s != nil {
		for key, value := range s.NodeSelector {
			all["nodeSelector/"+key] = value
		}
		if s.Affinity != nil {
			all["affinity"] = generic(s.Affinity)
		}
		if len(s.Tolerations) > 0 {
			all["tolerations"] = generic(s.Tolerations)
		}
	}
	for kept := range strings.SplitSeq(keeps, ",") {
		if kept = strings.TrimSpace(kept); kept != "" {
			maps.DeleteFunc(all, func(part string, _ any) bool { return keptBy(kept, part) })
		}
	}
	return all
}

func keptBy(kept, part string) bool {
	group, _, _ := strings.Cut(part, "/")
	scheduling := group == "nodeSelector" || group == "affinity" || group == "tolerations"
	return kept == part || kept == group || kept == "scheduling" && scheduling
}

// generic is a value as JSON has it.
func generic(value any) any {
	content, err := json.Marshal(value)
	if err != nil {
		panic("what came as JSON cannot be written as JSON: " + err.Error())
	}
	var out any
	if err := json.Unmarshal(content, &out); err != nil {
		panic("what was written as JSON cannot be read: " + err.Error())
	}
	return out
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// content is the spec of an installation as JSON has it.
func content(mm *installations.Mattermost) object {
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&mm.Spec)
	if err != nil {
		panic("a Mattermost that came as JSON cannot be converted: " + err.Error())
	}
	return spec
}

// partOf is what a spec has of a part; nil if it has nothing.
func partOf(spec object, part string) any {
	if path := pathOf(part); path != nil {
		value, _, _ := unstructured.NestedFieldNoCopy(spec, path...) // Of another type: not there.
		return value
	}
	env, _ := spec["mattermostEnv"].([]any)
	if i := indexOf(env, strings.TrimPrefix(part, "env/")); i >= 0 {
		return env[i]
	}
	return nil
}

func indexOf(env []any, name string) int {
	return slices.IndexFunc(env, func(item any) bool {
		v, ok := item.(object)
		return ok && v["name"] == name
	})
}
