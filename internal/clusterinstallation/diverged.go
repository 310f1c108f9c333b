package clusterinstallation

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"windlass.dev/internal/installation"
)

// maxDiverged is how many fields the status names.
const maxDiverged = 20

// diverged are the fields of the spec in which the Mattermost is not what the
// ClusterInstallation asks for, in order: what a revert takes back.
func (s Snapshot) diverged() []string {
	wanted, _ := s.successor()
	// As the Mattermost is completed when it is carried out.
	if is := installation.Default(s.Mattermost); equality.Semantic.DeepEqual(is.Spec, installation.Default(wanted).Spec) {
		return nil
	}
	is, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&installation.Default(s.Mattermost).Spec)
	if err != nil {
		return nil
	}
	was, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&installation.Default(wanted).Spec)
	if err != nil {
		return nil
	}
	all := Differences("spec", was, is)
	return all[:min(len(all), maxDiverged)]
}

// Differences are the paths of the fields that differ, in order.
func Differences(path string, before, after any) []string {
	was, isMap := before.(map[string]any)
	is, stillMap := after.(map[string]any)
	if isMap && stillMap {
		keys := maps.Clone(was)
		maps.Copy(keys, is)
		var all []string
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			all = append(all, Differences(path+"."+key, was[key], is[key])...)
		}
		return all
	}
	wasList, isList := before.([]any)
	nowList, stillList := after.([]any)
	if isList && stillList && len(wasList) == len(nowList) {
		var all []string
		for i := range wasList {
			all = append(all, Differences(fmt.Sprintf("%s[%d]", path, i), wasList[i], nowList[i])...)
		}
		return all
	}
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	return []string{path}
}
