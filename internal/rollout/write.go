package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"windlass.dev/api/fleet/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/plan"
)

// Apply applies, to one installation, exactly the fields in Object, if the installation
// still is as it was read.
type Apply struct {
	// Installation is namespace/name.
	Installation string
	Object       *unstructured.Unstructured
}

func (a Apply) String() string { return "change " + a.Subject() }

// Subject is what is changed.
func (a Apply) Subject() string { return "Mattermost/" + a.Installation }

// Merge patches one installation, if it still is as it was read. An apply would not do: it
// takes out nothing of what others own, such as the limits that came of a size.
type Merge struct {
	// Verb says what for.
	Verb string
	// Kind of the installation, and Installation is namespace/name.
	Kind, Installation string
	// Patch is a merge patch, as in RFC 7386.
	Patch []byte
}

func (a Merge) String() string { return a.Verb + " " + a.Subject() }

// Subject is what is changed.
func (a Merge) Subject() string { return a.Kind + "/" + a.Installation }

// intent is what is applied to one installation.
type intent struct {
	mm *installations.Mattermost
	// live is the spec as it is, and spec what is applied of it.
	live, spec object
}

// intend begins with all that we have applied before, as it is now: what an apply leaves
// out that nobody else owns is removed.
func intend(mm *installations.Mattermost) *intent {
	n := &intent{mm: mm, live: content(mm)}
	n.spec, _ = carried(owned(mm)["f:spec"], n.live).(object)
	if n.spec == nil {
		n.spec = object{}
	}
	return n
}

// owned are the fields that roll-outs own.
func owned(mm *installations.Mattermost) object {
	fields := object{}
	for _, entry := range mm.ManagedFields {
		if entry.Manager == v1alpha1.Manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && entry.FieldsV1 != nil {
			if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
				return object{}
			}
		}
	}
	return fields
}

// carried is what there is of the fields. A list is one value.
func carried(fields, live any) any {
	set, ok := fields.(object)
	value, isObject := live.(object)
	if !ok || live == nil {
		return nil
	}
	if !isObject {
		return live
	}
	out := object{}
	for name, below := range set {
		key, isField := strings.CutPrefix(name, "f:")
		if v, there := value[key]; isField && there {
			if inner, ok := below.(object); ok && len(inner) == 0 {
				out[key] = v
			} else if v = carried(below, v); v != nil {
				out[key] = v
			}
		}
	}
	return out
}

// set puts a part into what is applied; nil takes it out.
func (n *intent) set(part string, value any) {
	if path := pathOf(part); path != nil {
		if value == nil {
			prune(n.spec, path)
			return
		}
		at := n.spec
		for _, key := range path[:len(path)-1] {
			next, ok := at[key].(object)
			if !ok {
				next = object{}
				at[key] = next
			}
			at = next
		}
		at[path[len(path)-1]] = value
		return
	}
	env, begun := n.spec["mattermostEnv"].([]any)
	if !begun {
		env, _ = n.live["mattermostEnv"].([]any) // The list is one value, so that all of it is applied.
	}
	env = slices.Clone(env)
	i := indexOf(env, strings.TrimPrefix(part, "env/"))
	switch {
	case value == nil && i >= 0:
		env = slices.Delete(env, i, i+1)
	case value == nil:
	case i >= 0:
		env[i] = value
	default:
		env = append(env, value)
	}
	if n.spec["mattermostEnv"] = env; len(env) == 0 {
		delete(n.spec, "mattermostEnv")
	}
}

// prune takes a field out, and what is empty without it.
func prune(from object, path []string) {
	if below, ok := from[path[0]].(object); ok && len(path) > 1 {
		if prune(below, path[1:]); len(below) > 0 {
			return
		}
	}
	delete(from, path[0])
}

// apply is the step, with what is recorded in it.
func (n *intent) apply(record Record, labels map[string]string) (plan.Action, error) {
	text, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: object{}}
	u.SetGroupVersionKind(installations.GroupVersion.WithKind("Mattermost"))
	u.SetNamespace(n.mm.Namespace)
	u.SetName(n.mm.Name)
	u.SetUID(n.mm.UID)
	u.SetResourceVersion(n.mm.ResourceVersion)
	u.SetLabels(labels)
	u.SetAnnotations(map[string]string{v1alpha1.ChangeAnnotation: string(text)})
	if len(n.spec) > 0 {
		u.Object["spec"] = runtime.DeepCopyJSONValue(numbers(n.spec))
	}
	return Apply{Installation: n.mm.Namespace + "/" + n.mm.Name, Object: u}, nil
}

// numbers makes whole numbers of those that JSON has made fractions of.
func numbers(value any) any {
	switch v := value.(type) {
	case object:
		out := make(object, len(v))
		for key, item := range v {
			out[key] = numbers(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = numbers(item)
		}
		return out
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
		return v
	default:
		return value
	}
}

// take is the step that gives an installation a revision.
func take(r *v1alpha1.InstallationRollout, i *Installation, now time.Time) (plan.Action, error) {
	if r.Spec.Change.Migrate {
		return migrate(r, i, now, false)
	}
	mm := i.Mattermost
	n := intend(mm)
	wanted := parts(r.Spec.Change, mm.Annotations[v1alpha1.KeepsAnnotation])
	record := Record{Rollout: r.Name, UID: r.UID, Sequence: r.Status.Revision.Sequence, Installation: mm.UID, At: metav1.NewTime(now), Generation: mm.Generation - 1, Before: map[string]json.RawMessage{}}
	remember := func(part string, value any) error {
		text, err := json.Marshal(value)
		record.Before[part] = text
		return err
	}
	for _, part := range slices.Sorted(maps.Keys(wanted)) {
		was := partOf(n.live, part)
		if err := remember(part, was); err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
		if !same(was, wanted[part]) {
			record.Generation = mm.Generation
		}
		n.set(part, wanted[part])
	}
	if _, ok := wanted["size"]; ok {
		for _, part := range sized {
			if err := remember(part, partOf(n.live, part)); err != nil {
				return nil, fmt.Errorf("%s: %w", part, err)
			}
			n.set(part, nil) // The size is what decides.
		}
	}
	for _, label := range []string{v1alpha1.GroupLabel, v1alpha1.SequenceLabel} {
		if value, ok := mm.Labels[label]; ok {
			if err := remember("label/"+label, value); err != nil {
				return nil, err
			}
		}
	}
	return n.apply(record, labelsOf(r.Name, record.Sequence))
}

// giveBack is the step that gives an installation back what the revision has changed.
func giveBack(r *v1alpha1.InstallationRollout, i *Installation, now time.Time) (plan.Action, error) {
	if r.Spec.Change.Migrate {
		return migrate(r, i, now, true)
	}
	mm := i.Mattermost
	live := content(mm)
	n := &intent{mm: mm, live: live, spec: runtime.DeepCopyJSON(live)}
	labels, changed, err := n.restore(r, i)
	if err != nil {
		return nil, err
	}
	record := Record{Rollout: r.Name, UID: r.UID, Sequence: i.Record.Sequence, Installation: mm.UID, At: metav1.NewTime(now), Generation: mm.Generation - 1, Back: true}
	if changed {
		record.Generation = mm.Generation
	}
	text, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	spec, err := difference(live, n.spec)
	if err != nil {
		return nil, err
	}
	metadata := object{"resourceVersion": mm.ResourceVersion, "labels": labels, "annotations": object{v1alpha1.ChangeAnnotation: string(text)}}
	patch, err := json.Marshal(object{"metadata": metadata, "spec": spec})
	return Merge{Verb: "give back", Kind: i.Kind, Installation: i.Name, Patch: patch}, err
}

// restore puts back what was there before, and says whether that changes the spec, and which
// labels. What somebody has changed since is theirs, and stays.
func (n *intent) restore(r *v1alpha1.InstallationRollout, i *Installation) (labels object, changed bool, err error) {
	// Of a change that was edited right before its end nobody knows what it was.
	known := r.Status.Revision != nil && Hash(r.Spec.Change) == r.Status.Revision.Hash
	given := parts(r.Spec.Change, "")
	bySize := resized(n.mm, r.Spec.Change.Size)
	labels = object{}
	for label, ours := range labelsOf(r.Name, i.Record.Sequence) {
		if n.mm.Labels[label] == ours {
			labels[label] = nil
		}
	}
	for _, part := range slices.Sorted(maps.Keys(i.Record.Before)) {
		var value any
		if err := json.Unmarshal(i.Record.Before[part], &value); err != nil {
			return nil, false, fmt.Errorf("what the installation had before, %s: %w", part, err)
		}
		if label, ok := strings.CutPrefix(part, "label/"); ok {
			if _, ours := labels[label]; ours {
				labels[label] = value
			}
			continue
		}
		has := partOf(n.live, part)
		switch {
		case part == "replicas" && i.Hibernated, known && !came(has, part, given, bySize):
		case !same(has, value):
			changed = true
			n.set(part, value)
		}
	}
	return labels, changed, nil
}

// came reports whether what an installation has of a part came of the change. A size is gone,
// and its fields are filled in, once it was carried out.
func came(has any, part string, given, bySize object) bool {
	switch {
	case slices.Contains(sized, part):
		return has == nil || same(has, partOf(bySize, part))
	case part == "size":
		return has == nil || same(has, given[part])
	default:
		return same(has, given[part])
	}
}

// resized is the spec that comes of a size.
func resized(mm *installations.Mattermost, size string) object {
	mm = mm.DeepCopy()
	mm.Spec.Size = size
	return content(installation.Default(mm))
}

// difference is the merge patch that makes one spec of another.
func difference(from, to object) (patch object, err error) {
	a, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(numbers(to))
	if err != nil {
		return nil, err
	}
	text, err := jsonpatch.CreateMergePatch(a, b)
	if err != nil {
		return nil, err
	}
	return patch, json.Unmarshal(text, &patch)
}

// labelsOf are what an installation is told apart by.
func labelsOf(rollout string, sequence int64) map[string]string {
	return map[string]string{v1alpha1.GroupLabel: rollout, v1alpha1.SequenceLabel: strconv.FormatInt(sequence, 10)}
}
