// Package inventory decides which objects have to be written or removed so
// that what an owner wants is what exists. It is pure: the API server is read
// before and written after.
//
// The position is kept in the owner's status: for each object a digest of what
// was applied and of what the API server then recorded as ours, and when. As long as the
// wanted state and our share of the object's field ownership both still give
// that digest, the object is as we left it, whatever others added to it and
// whatever the API server defaulted. So a steady state needs neither a write
// nor a read, even after a restart, and no copy of an API server's defaulting.
package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/internal/kit/plan"
)

// Digests maps each recorded object to the digest of its last apply.
type Digests map[plan.Ref]string

// Live is what is known of an object that exists.
type Live struct {
	Ref             plan.Ref
	UID             types.UID
	ResourceVersion string
	// Controller is the UID of the controlling owner; empty when there is none.
	Controller types.UID
	Deleting   bool
	// Managed is the object's field ownership, as far as the cache keeps it.
	Managed []metav1.ManagedFieldsEntry
}

// LiveOf reads what converging needs from an object's metadata.
func LiveOf(ref plan.Ref, object metav1.Object) Live {
	live := Live{
		Ref:             ref,
		UID:             object.GetUID(),
		ResourceVersion: object.GetResourceVersion(),
		Deleting:        object.GetDeletionTimestamp() != nil,
		Managed:         object.GetManagedFields(),
	}
	if owner := metav1.GetControllerOf(object); owner != nil {
		live.Controller = owner.UID
	}
	return live
}

// Conflict is a wanted object whose name is taken by one that is not ours.
type Conflict struct {
	Ref plan.Ref
	// Controller is the owner's UID; empty when the object has no controller.
	Controller types.UID
}

// Request is all that Converge may look at.
type Request struct {
	Owner types.UID
	// Predecessor is a former owner whose objects are the owner's to take over; empty for
	// none. Whoever sets it has seen to it that the predecessor writes no more.
	Predecessor types.UID
	Manager     string
	Wanted      []*unstructured.Unstructured
	Live        []Live
	Recorded    Digests
	// Keep are objects that are neither wanted nor to be pruned for now.
	Keep map[plan.Ref]bool
	// Retained are wanted objects that outlive their owner, because they hold
	// data. They may have no controller, one that has none is taken over, and
	// none is ever pruned.
	Retained map[plan.Ref]bool
	// Recreate are wanted objects that have to be deleted first because a field
	// that cannot be changed has to change, with the reason.
	Recreate map[plan.Ref]string
}

// Converge returns the steps that make what exists equal to what is wanted, in
// the order of Wanted, then removals in the order of their names; and the
// wanted objects that cannot be had because somebody else owns their name.
func Converge(r Request) ([]plan.Step, []Conflict) {
	live := make(map[plan.Ref]Live, len(r.Live))
	for _, l := range r.Live {
		live[l.Ref] = l
	}
	var steps []plan.Step
	var conflicts []Conflict
	wanted := make(map[plan.Ref]bool, len(r.Wanted))
	for _, object := range r.Wanted {
		ref := plan.RefTo(object)
		wanted[ref] = true
		have, exists := live[ref]
		switch {
		case exists && !r.has(have):
			conflicts = append(conflicts, Conflict{Ref: ref, Controller: have.Controller})
		case exists && have.Deleting:
			// It goes first; its deletion is a watch event that brings us back.
		case exists && r.Recreate[ref] != "":
			steps = append(steps, plan.Step{Action: plan.Delete{Ref: ref, UID: have.UID}, Why: r.Recreate[ref]})
		default:
			if why := r.whyApply(object, have, exists); why != "" {
				steps = append(steps, plan.Step{Action: plan.Apply{Object: object}, Why: why})
			}
		}
	}
	return append(steps, prune(r, live, wanted)...), conflicts
}

// whyApply says why a wanted object has to be applied; empty when it is as it was left.
func (r Request) whyApply(object *unstructured.Unstructured, have Live, exists bool) string {
	ref := plan.RefTo(object)
	switch {
	case !exists:
		return "does not exist"
	case have.Controller != r.Owner && (have.Controller != "" || !r.Retained[ref]):
		return "is taken over from the one before"
	case Digest(object, have.Managed, r.Manager) != r.Recorded[ref]:
		return "differs from what was last applied"
	default:
		return ""
	}
}

// has reports whether an object is the owner's to write.
func (r Request) has(l Live) bool {
	return r.Controls(l) || l.Controller == "" && (r.Retained[l.Ref] || r.Predecessor != "" && ours(l, r))
}

// Controls reports whether the owner controls an object, or the one before it does.
func (r Request) Controls(l Live) bool {
	return l.Controller != "" && (l.Controller == r.Owner || l.Controller == r.Predecessor)
}

// prune removes what carries the owner's mark and is no longer wanted. What is
// recorded but carries another owner's mark, or none, was taken away from us
// and is left alone.
func prune(r Request, live map[plan.Ref]Live, wanted map[plan.Ref]bool) []plan.Step {
	var steps []plan.Step
	for ref, l := range live {
		if wanted[ref] || r.Keep[ref] || r.Retained[ref] || l.Deleting || !r.Controls(l) || !ours(l, r) {
			continue
		}
		steps = append(steps, plan.Step{Action: plan.Delete{Ref: ref, UID: l.UID}, Why: "is no longer wanted"})
	}
	slices.SortFunc(steps, func(a, b plan.Step) int { return strings.Compare(a.Action.String(), b.Action.String()) })
	return steps
}

// ours tells an object that we made from one that merely has the same owner,
// such as one that an extension of the user's attached to it.
func ours(l Live, r Request) bool {
	if _, recorded := r.Recorded[l.Ref]; recorded {
		return true
	}
	return slices.ContainsFunc(l.Managed, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == r.Manager })
}

// Digest identifies an apply by what was sent, by when that last changed the object, and
// by what the API server holds to be the manager's fields since. It changes when the
// wanted state changes, and when somebody else takes over, changes or removes one of our
// fields. The time, to the second, is for a field that got another value from us, of which
// a crash kept the record: what was wanted before is not there when it is wanted again.
func Digest(intent *unstructured.Unstructured, managed []metav1.ManagedFieldsEntry, manager string) string {
	hash := sha256.New()
	// Marshalling a map sorts its keys, so equal intents give equal bytes.
	content, err := json.Marshal(intent.Object)
	if err != nil {
		// An intent is made of JSON values; anything else is a programming error
		// that must not look like "unchanged".
		panic(fmt.Sprintf("intent %s is not JSON: %v", plan.RefTo(intent), err))
	}
	hash.Write(content)
	for _, entry := range managed {
		if entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && entry.FieldsV1 != nil {
			hash.Write([]byte{0})
			hash.Write([]byte(entry.APIVersion))
			if entry.Time != nil {
				hash.Write([]byte(strconv.FormatInt(entry.Time.Unix(), 10)))
			}
			hash.Write(canonical(entry.FieldsV1.GetRawBytes()))
		}
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// canonical gives equal bytes for equal field sets. The API server orders the
// entries of a list by the values of their keys and a decoder that goes by way of
// a map by the text: a port 443 comes after 80 here and before it there.
func canonical(fields []byte) []byte {
	var set map[string]any
	if err := json.Unmarshal(fields, &set); err != nil {
		return fields // Not what the API server sends; it is compared as it is.
	}
	content, err := json.Marshal(set)
	if err != nil {
		return fields
	}
	return content
}

// Next is the inventory to record after a plan was carried out: what was
// applied gets its new digest, what was deleted, no longer exists or was given
// up is dropped, and all else stays as it was.
func Next(r Request, outcome plan.Outcome) Digests {
	next := Digests{}
	exists := map[plan.Ref]bool{}
	wanted := map[plan.Ref]bool{}
	for _, object := range r.Wanted {
		wanted[plan.RefTo(object)] = true
	}
	for _, l := range r.Live {
		// What is retained without an owner is nobody's once it is not wanted.
		// Without wishes, because they could not be told, all stays as it was.
		givenUp := r.Wanted != nil && l.Controller == "" && !wanted[l.Ref] && !r.Keep[l.Ref]
		exists[l.Ref] = r.has(l) && !givenUp
	}
	for ref, digest := range r.Recorded {
		if exists[ref] {
			next[ref] = digest
		}
	}
	for _, step := range outcome.Done {
		if deleted, ok := step.Action.(plan.Delete); ok {
			delete(next, deleted.Ref)
		}
	}
	maps.Copy(next, outcome.Applied)
	return next
}
