// Package objects is what providers share whose groups are objects of a cluster: how errors
// of an API server are told, how a run is noted on its group, and how an object is changed.
package objects

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/cloud"
)

// Annotations of ours.
const (
	// MarkAnnotation is on a group, and has a Mark.
	MarkAnnotation = "windlass.dev/run"
	// ProtectedAnnotation is on what is kept from being ended because of us.
	ProtectedAnnotation = "windlass.dev/protected"
)

// Explain says what was tried, and gives an error of an API server the port's kind; nil
// stays nil.
func Explain(what string, err error) error {
	if err == nil {
		return nil
	}
	if kind := kindOf(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", what, kind, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// kindOf is the port's error; nil for one that callers need not tell apart.
func kindOf(err error) error {
	switch {
	case meta.IsNoMatchError(err), apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) && apierrors.IsNotFound(err):
		return cloud.ErrUnsupported // The kind is gone, which is not the object.
	case apierrors.IsNotFound(err):
		return cloud.ErrNotFound
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return cloud.ErrConflict
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return cloud.ErrCredentials
	case apierrors.IsTooManyRequests(err):
		return cloud.ErrThrottled
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return cloud.ErrInvalid
	default:
		return nil
	}
}

// Mark is what a run notes on its group.
type Mark struct {
	Run     string   `json:"run"`
	Suspend []string `json:"suspend,omitempty"`
	Size    int32    `json:"size"`
	Max     int32    `json:"max"`
}

// MarkOf is a guard as a mark.
func MarkOf(g cloud.Guard) Mark {
	return Mark{Run: g.Run, Suspend: g.Suspend, Size: g.Settings.Size, Max: g.Settings.Max}
}

// Guard is the mark as a guard.
func (m *Mark) Guard() *cloud.Guard {
	return &cloud.Guard{Run: m.Run, Suspend: m.Suspend, Settings: cloud.Settings{Size: m.Size, Max: m.Max}}
}

// ReadMark reads a group's mark; nil for none. What is not ours is somebody's who holds it.
func ReadMark(annotations map[string]string) *Mark {
	text := annotations[MarkAnnotation]
	if text == "" {
		return nil
	}
	var m Mark
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return &Mark{Run: text}
	}
	return &m
}

// Annotate sets an annotation, or removes it if the value is empty.
func Annotate(u *unstructured.Unstructured, key, value string) {
	all := u.GetAnnotations()
	if all == nil {
		all = map[string]string{}
	}
	if value == "" {
		delete(all, key)
	} else {
		all[key] = value
	}
	u.SetAnnotations(all)
}

// Put sets a field below those that are objects by the kind's schema.
func Put(u *unstructured.Unstructured, value any, fields ...string) {
	if err := unstructured.SetNestedField(u.Object, value, fields...); err != nil {
		panic(err) // A schema that is none.
	}
}

// Edit writes what change makes of an object, unless that is nothing. Somebody else who has
// written since it was read is ErrConflict.
func Edit(ctx context.Context, c client.Client, u *unstructured.Unstructured, change func()) error {
	was := u.DeepCopy()
	if change(); equality.Semantic.DeepEqual(was.Object, u.Object) {
		return nil
	}
	return Explain("change "+name(u), c.Update(ctx, u))
}

// Note sets annotations of an object, and removes those whose value is nil. One that is gone
// needs none.
func Note(ctx context.Context, c client.Client, object client.Object, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	err = c.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch))
	return Explain("annotate "+name(object), client.IgnoreNotFound(err))
}

// name is the kind of an object, and its name.
func name(o client.Object) string {
	text := o.GetObjectKind().GroupVersionKind().Kind + " "
	if o.GetNamespace() != "" {
		text += o.GetNamespace() + "/"
	}
	return text + o.GetName()
}
