package inventory

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"

	"windlass.dev/internal/kit/plan"
)

const (
	owner   = "owner-uid"
	manager = "windlass-test"
)

func service(name, value string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": name, "namespace": "ns"},
		"spec":     map[string]any{"externalName": value},
	}}
}

func ref(name string) plan.Ref {
	return plan.Ref{Kind: "Service", Namespace: "ns", Name: name}
}

func fields(manager, raw string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1",
		FieldsV1: metav1.NewFieldsV1(raw),
	}
}

// left is an object exactly as the last apply left it, which changed it at that second.
func left(object *unstructured.Unstructured, at int) (Live, Digests) {
	entry := fields(manager, `{"f:spec":{}}`)
	entry.Time = new(metav1.Unix(int64(at), 0))
	managed := []metav1.ManagedFieldsEntry{entry}
	live := Live{Ref: plan.RefTo(object), UID: "uid-" + "1", Controller: owner, Managed: managed}
	return live, Digests{live.Ref: Digest(object, managed, manager)}
}

func TestConverge(t *testing.T) {
	t.Parallel()
	same, recorded := left(service("a", "x"), 1)
	with := func(edit func(*Live)) []Live {
		live := same
		live.Managed = slices.Clone(live.Managed)
		edit(&live)
		return []Live{live}
	}
	wanted := []*unstructured.Unstructured{service("a", "x")}
	cases := map[string]struct {
		request       Request
		want          []string
		wantWhy       string
		wantConflicts []Conflict
	}{
		"nothing there": {
			request: Request{Wanted: wanted}, want: []string{"apply Service/a"}, wantWhy: "does not exist",
		},
		"as it was left": {
			request: Request{Wanted: wanted, Live: []Live{same}, Recorded: recorded},
		},
		"others added managers of their own": {
			request: Request{Wanted: wanted, Recorded: recorded, Live: with(func(l *Live) {
				l.Managed = append(l.Managed, fields("kubectl", `{"f:metadata":{}}`))
			})},
		},
		"another took one of our fields": {
			request: Request{Wanted: wanted, Recorded: recorded, Live: with(func(l *Live) {
				l.Managed = []metav1.ManagedFieldsEntry{fields(manager, `{}`), fields("kubectl", `{"f:spec":{}}`)}
			})},
			want: []string{"apply Service/a"}, wantWhy: "differs from what was last applied",
		},
		"the intent changed": {
			request: Request{Wanted: []*unstructured.Unstructured{service("a", "y")}, Live: []Live{same}, Recorded: recorded},
			want:    []string{"apply Service/a"}, wantWhy: "differs from what was last applied",
		},
		"it was something else meanwhile, as after a crash": {
			request: Request{Wanted: wanted, Recorded: recorded, Live: with(func(l *Live) { l.Managed[0].Time = new(metav1.Unix(2, 0)) })},
			want:    []string{"apply Service/a"}, wantWhy: "differs from what was last applied",
		},
		"the apply is not on record, as after a crash": {
			request: Request{Wanted: wanted, Live: []Live{same}},
			want:    []string{"apply Service/a"}, wantWhy: "differs from what was last applied",
		},
		"the name is taken": {
			request:       Request{Wanted: wanted, Live: with(func(l *Live) { l.Controller = "other" })},
			wantConflicts: []Conflict{{Ref: ref("a"), Controller: "other"}},
		},
		"the name is taken by what nobody controls": {
			request:       Request{Wanted: wanted, Live: with(func(l *Live) { l.Controller = "" })},
			wantConflicts: []Conflict{{Ref: ref("a")}},
		},
		"it is being deleted": {
			request: Request{Wanted: wanted, Live: with(func(l *Live) { l.Deleting = true })},
		},
		"it has to be made anew": {
			request: Request{Wanted: wanted, Live: []Live{same}, Recorded: recorded, Recreate: map[plan.Ref]string{ref("a"): "the selector cannot be changed"}},
			want:    []string{"delete Service/a"}, wantWhy: "the selector cannot be changed",
		},
		"what has to be made anew is gone": {
			request: Request{Wanted: wanted, Recreate: map[plan.Ref]string{ref("a"): "the selector cannot be changed"}},
			want:    []string{"apply Service/a"}, wantWhy: "does not exist",
		},
		"no longer wanted": {
			request: Request{Live: []Live{same}, Recorded: recorded},
			want:    []string{"delete Service/a"}, wantWhy: "is no longer wanted",
		},
		"no longer wanted and not on record, but written by us": {
			request: Request{Live: []Live{same}},
			want:    []string{"delete Service/a"}, wantWhy: "is no longer wanted",
		},
		"attached to the owner by somebody else": {
			request: Request{Live: with(func(l *Live) { l.Managed = []metav1.ManagedFieldsEntry{fields("extension", `{}`)} })},
		},
		"kept for now": {
			request: Request{Live: []Live{same}, Recorded: recorded, Keep: map[plan.Ref]bool{ref("a"): true}},
		},
		"taken over from the one before, although nothing else differs": {
			request: Request{Predecessor: "before", Wanted: wanted, Recorded: recorded, Live: with(func(l *Live) { l.Controller = "before" })},
			want:    []string{"apply Service/a"}, wantWhy: "is taken over from the one before",
		},
		"the one before has let go of it": {
			request: Request{Predecessor: "before", Wanted: wanted, Recorded: recorded, Live: with(func(l *Live) { l.Controller = "" })},
			want:    []string{"apply Service/a"}, wantWhy: "is taken over from the one before",
		},
		"nobody's, and not made by us": {
			request:       Request{Predecessor: "before", Wanted: wanted, Live: with(func(l *Live) { l.Controller, l.Managed = "", nil })},
			wantConflicts: []Conflict{{Ref: ref("a")}},
		},
		"the one before had it, and it is no longer wanted": {
			request: Request{Predecessor: "before", Live: with(func(l *Live) { l.Controller = "before" })},
			want:    []string{"delete Service/a"}, wantWhy: "is no longer wanted",
		},
		"data that the one before owns": {
			request: Request{Predecessor: "before", Wanted: wanted, Recorded: recorded, Retained: map[plan.Ref]bool{ref("a"): true}, Live: with(func(l *Live) { l.Controller = "before" })},
			want:    []string{"apply Service/a"}, wantWhy: "is taken over from the one before",
		},
		"data that nobody owns stays as it is": {
			request: Request{Predecessor: "before", Wanted: wanted, Recorded: recorded, Retained: map[plan.Ref]bool{ref("a"): true}, Live: with(func(l *Live) { l.Controller = "" })},
		},
		"recorded, but given to another owner": {
			request: Request{Live: with(func(l *Live) { l.Controller = "other" }), Recorded: recorded},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.request.Owner, c.request.Manager = owner, manager
			steps, conflicts := Converge(c.request)
			var got []string
			for _, step := range steps {
				got = append(got, step.Action.String())
				if step.Why != c.wantWhy {
					t.Errorf("reason of %s: want %q, got %q", step.Action, c.wantWhy, step.Why)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.wantConflicts, conflicts); diff != "" {
				t.Errorf("conflicts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	request := Request{
		Owner:    owner,
		Recorded: Digests{ref("same"): "1", ref("changed"): "2", ref("gone"): "3", ref("given"): "4", ref("deleted"): "7"},
		Live: []Live{
			{Ref: ref("same"), Controller: owner}, {Ref: ref("changed"), Controller: owner}, {Ref: ref("given"), Controller: "other"}, {Ref: ref("deleted"), Controller: owner},
		},
	}
	done := []plan.Step{{Action: plan.Delete{Ref: ref("deleted")}}}
	got := Next(request, plan.Outcome{Done: done, Applied: map[plan.Ref]string{ref("changed"): "5", ref("new"): "6"}})
	want := Digests{ref("same"): "1", ref("changed"): "5", ref("new"): "6"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

// TestConvergeEnds plays converging against a world that does as it is told,
// with a crash after any number of steps, and others wishes then: whatever the world was
// like, it ends with exactly what is wanted, and then there is nothing more to do.
func TestConvergeEnds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d"}
		value := rapid.SampledFrom([]string{"x", "y"})
		wanted := map[string]string{}
		world, recorded := map[plan.Ref]Live{}, Digests{}
		contents := map[plan.Ref]string{}
		now := 0
		for _, name := range names {
			if rapid.Bool().Draw(t, "wanted "+name) {
				wanted[name] = value.Draw(t, "value of "+name)
			}
			if rapid.Bool().Draw(t, "exists "+name) {
				have := value.Draw(t, "existing value of "+name)
				live, digests := left(service(name, have), now)
				world[live.Ref], contents[live.Ref] = live, have
				if rapid.Bool().Draw(t, "recorded "+name) {
					maps.Copy(recorded, digests)
				}
			}
		}
		request := func() Request {
			r := Request{Owner: owner, Manager: manager, Recorded: recorded}
			for _, name := range slices.Sorted(maps.Keys(wanted)) {
				r.Wanted = append(r.Wanted, service(name, wanted[name]))
			}
			for _, l := range world {
				r.Live = append(r.Live, l)
			}
			return r
		}
		for pass := 0; ; pass++ {
			if pass > 20 {
				t.Fatalf("does not end")
			}
			r := request()
			steps, conflicts := Converge(r)
			if len(conflicts) > 0 {
				t.Fatalf("conflicts with objects of our own: %v", conflicts)
			}
			if len(steps) == 0 {
				break
			}
			crash := pass < 10 && rapid.Bool().Draw(t, "crash")
			outcome := plan.Outcome{Applied: map[plan.Ref]string{}}
			for i, step := range steps {
				if crash && i == rapid.IntRange(0, len(steps)-1).Draw(t, "crash after") {
					break
				}
				switch action := step.Action.(type) {
				case plan.Apply:
					content, _, _ := unstructured.NestedString(action.Object.Object, "spec", "externalName")
					was := world[plan.RefTo(action.Object)]
					if now++; contents[plan.RefTo(action.Object)] != content {
						was, _ = left(action.Object, now)
					}
					world[was.Ref], contents[was.Ref] = was, content
					outcome.Applied[was.Ref] = Digest(action.Object, was.Managed, manager)
				case plan.Delete:
					delete(world, action.Ref)
					delete(contents, action.Ref)
				}
			}
			if !crash { // A crash loses what was not yet recorded.
				recorded = Next(r, outcome)
				continue
			}
			for _, name := range names {
				if _, is := wanted[name]; is && rapid.Bool().Draw(t, "another value of "+name) {
					wanted[name] = value.Draw(t, "value of "+name)
				}
			}
		}
		want := map[plan.Ref]string{}
		for name, v := range wanted {
			want[ref(name)] = v
		}
		if diff := cmp.Diff(want, contents); diff != "" {
			t.Fatalf("world (-want +got):\n%s", diff)
		}
	})
}

// TestDigestKnowsNoOrder: the same fields come in one order from a watch and in
// another from the answer to an apply.
func TestDigestKnowsNoOrder(t *testing.T) {
	t.Parallel()
	intent := service("a", "x")
	watched := []metav1.ManagedFieldsEntry{fields(manager, `{"f:spec":{"f:ports":{"k:{\"port\":80}":{},"k:{\"port\":443}":{}}}}`)}
	answered := []metav1.ManagedFieldsEntry{fields(manager, `{"f:spec":{"f:ports":{"k:{\"port\":443}":{},"k:{\"port\":80}":{}}}}`)}
	other := []metav1.ManagedFieldsEntry{fields(manager, `{"f:spec":{"f:ports":{"k:{\"port\":443}":{},"k:{\"port\":81}":{}}}}`)}
	if Digest(intent, watched, manager) != Digest(intent, answered, manager) {
		t.Error("the order of the fields counts")
	}
	if Digest(intent, watched, manager) == Digest(intent, other, manager) {
		t.Error("other fields have the same digest")
	}
}

func TestNextOfRetained(t *testing.T) {
	t.Parallel()
	live := Live{Ref: ref("data"), UID: "uid-1"}
	request := Request{Owner: owner, Manager: manager, Live: []Live{live}, Recorded: Digests{ref("data"): "x"}, Retained: map[plan.Ref]bool{ref("data"): true}}
	if next := Next(request, plan.Outcome{}); next[ref("data")] != "x" {
		t.Error("forgotten, although nothing is known of what is wanted")
	}
	request.Wanted = []*unstructured.Unstructured{service("data", "x")}
	if next := Next(request, plan.Outcome{}); next[ref("data")] != "x" {
		t.Error("forgotten, although it is wanted")
	}
	request.Wanted = []*unstructured.Unstructured{service("other", "x")}
	if next := Next(request, plan.Outcome{}); next[ref("data")] != "" {
		t.Error("still recorded, although it is nobody's now")
	}
}
