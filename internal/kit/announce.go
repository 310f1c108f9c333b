package kit

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"windlass.dev/internal/kit/plan"
)

// noteLimit is what the API server takes for the text of an event, in bytes.
const noteLimit = 1024

// Event tells people of one change that is on record.
type Event struct {
	// Warning is for what needs a person or may soon.
	Warning bool
	// Reason and Action are PascalCase; Action says what the controller did.
	Reason, Action string
	Message        string
	// About is another object than the controller's own that the event is about.
	About runtime.Object
}

// Announcer sends events.
type Announcer struct{ Recorder events.EventRecorder }

// Send sends one event about the object.
func (a Announcer) Send(object runtime.Object, event Event) {
	kind := corev1.EventTypeNormal
	if event.Warning {
		kind = corev1.EventTypeWarning
	}
	a.Recorder.Eventf(object, nil, kind, event.Reason, event.Action, "%s", plan.Bounded(event.Message, noteLimit))
}
