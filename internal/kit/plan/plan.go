// Package plan is the vocabulary between deciding and acting: what a decision
// wants done, in which order, when to look again, and why. It is data only, so
// that a plan can be computed in a controller, on the command line and in a
// test, and be the same in all.
package plan

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Plan is what a decision wants to happen next.
type Plan struct {
	// Steps are carried out in order. A step that fails holds up only the
	// steps that name it in Needs.
	Steps []Step
	// Wake is when to look again although nothing changed; 0 waits for a watch.
	Wake time.Duration
	// Why says what the plan is based on, and why it does not do more.
	Why []Note
	// Status is what the decision leaves for the report, in a type of the feature's own,
	// so that nothing has to be decided twice; nil for one that reports from the snapshot.
	Status any
}

// Step is one action with its reason.
type Step struct {
	Action Action
	// Needs lists the actions, by their String, that must have succeeded in the
	// same pass. A step whose need failed or was itself held up is not tried.
	Needs []string
	// Why is the reason in a few words, such as "does not exist".
	Why string
}

// Action is plain data that one idempotent call carries out. Its String is
// unique within a plan and stable, for example "apply Service/chat".
type Action interface{ String() string }

// Note is a reason, addressed to people.
type Note struct {
	// Subject is what the note is about, as Kind/name or a field path.
	Subject string
	// Reason is one of the documented condition reasons, in PascalCase.
	Reason string
	// Message is one sentence, bounded and free of secrets.
	Message string
}

func (n Note) String() string { return fmt.Sprintf("%s: %s: %s", n.Subject, n.Reason, n.Message) }

// Ref names an object within its API group, whatever the version.
type Ref struct {
	Group     string
	Kind      string
	Namespace string
	Name      string
}

// RefOf returns the name of an object of a known kind.
func RefOf(gk schema.GroupKind, namespace, name string) Ref {
	return Ref{Group: gk.Group, Kind: gk.Kind, Namespace: namespace, Name: name}
}

// RefTo returns the name of an object that carries its kind.
func RefTo(object *unstructured.Unstructured) Ref {
	gk := object.GroupVersionKind().GroupKind()
	return RefOf(gk, object.GetNamespace(), object.GetName())
}

// GroupKind is the kind that the reference names.
func (r Ref) GroupKind() schema.GroupKind { return schema.GroupKind{Group: r.Group, Kind: r.Kind} }

// String is "Kind/name"; namespace and group are left out because a plan stays
// in one namespace and people know the kinds.
func (r Ref) String() string { return r.Kind + "/" + r.Name }

// Apply is a server-side apply of exactly the fields in Object.
type Apply struct {
	Object *unstructured.Unstructured
	// Manager is the field manager; empty means the controller's own.
	Manager string
}

func (a Apply) String() string {
	if a.Manager != "" {
		return "apply " + RefTo(a.Object).String() + " as " + a.Manager
	}
	return "apply " + RefTo(a.Object).String()
}

// Delete removes an object of which the controller knows that it owns it. The
// UID guards against a namesake that somebody made since the plan was computed.
type Delete struct {
	Ref Ref
	UID types.UID
	// Foreground keeps the object until its dependents are gone, so that a
	// successor can wait for the end of what it ran.
	Foreground bool
	// Orphan leaves what the object owns.
	Orphan bool
	// ResourceVersion is the one that the object has to have still; empty for any.
	ResourceVersion string
}

func (d Delete) String() string { return "delete " + d.Ref.String() }

// TakeOver makes the controller the owner of what another client set by updates,
// so that what is no longer applied is removed, as if the controller had applied
// it all along. It changes no value but what Annotations and Disown name.
type TakeOver struct {
	Ref Ref
	UID types.UID
	// From is the other client's field manager.
	From string
	// Subresource whose fields are taken over; empty for the object itself.
	Subresource string
	// How the fields are held from then on.
	How Tenure
	// Annotations are removed.
	Annotations []string
	// Disown is an owner that is removed; empty for none.
	Disown types.UID
}

// Tenure is how fields are held.
type Tenure string

const (
	// Applied fields are removed when they are no longer applied.
	Applied Tenure = "applied"
	// Updated fields stay until they are changed.
	Updated Tenure = "updated"
	// Unowned fields stay, and belong to nobody.
	Unowned Tenure = "unowned"
)

func (t TakeOver) String() string { return "take over " + t.Ref.String() + " from " + t.From }

// HandOver is the way back: it makes another client the owner of what the controller
// set, as if that client had set it by updates. It changes no value but what
// Annotations and Own name.
type HandOver struct {
	Ref Ref
	UID types.UID
	// From are the controller's field managers, and To is the other client's.
	From []string
	To   string
	// Subresource whose fields are handed over; empty for the object itself.
	Subresource string
	// Annotations are set.
	Annotations map[string]string
	// Own is who the object is deleted with from then on, if it has no owner; nil
	// leaves the owners as they are.
	Own *metav1.OwnerReference
}

func (h HandOver) String() string {
	if h.Subresource != "" {
		return "hand over " + h.Subresource + " of " + h.Ref.String() + " to " + h.To
	}
	return "hand over " + h.Ref.String() + " to " + h.To
}

// Own gives an object that has no controller one, so that it is deleted with it.
type Own struct {
	Ref   Ref
	UID   types.UID
	Owner metav1.OwnerReference
	// From is the owner whose place it takes, in the same write; empty for none.
	From types.UID
}

func (o Own) String() string { return "own " + o.Ref.String() }

// Disown removes an owner from an object, so that it is no longer deleted with it.
type Disown struct {
	Ref   Ref
	UID   types.UID
	Owner types.UID
}

func (d Disown) String() string { return "disown " + d.Ref.String() }

// Outcome is what became of a plan.
type Outcome struct {
	Done    []Step
	Failed  []Failure
	Blocked []Step
	// Applied holds, for each object that an Apply step without a manager of its
	// own wrote, the digest to record in the inventory.
	Applied map[Ref]string
}

// Failure is a step that was tried and did not succeed.
type Failure struct {
	Step Step
	Err  error
}

// Has reports whether the plan contains the action with this String.
func (p Plan) Has(action string) bool {
	for _, step := range p.Steps {
		if step.Action.String() == action {
			return true
		}
	}
	return false
}
