package installation

import (
	"fmt"

	"windlass.dev/api/installation/v1beta1"
)

func paused(mm *v1beta1.Mattermost) bool { return mm.Annotations[v1beta1.PausedAnnotation] == "true" }

// pausedMessage says what waits.
func (a assessment) pausedMessage() string {
	const resume = "remove the annotation " + v1beta1.PausedAnnotation + " to go on."
	switch n := len(a.Steps); n {
	case 0:
		return "Nothing is changed while the installation is paused, and nothing has to be; " + resume
	case 1:
		return fmt.Sprintf("Nothing is changed while the installation is paused; one step waits (%s); %s", a.Steps[0].Action, resume)
	default:
		return fmt.Sprintf("Nothing is changed while the installation is paused; %d steps wait, the first is: %s; %s", n, a.Steps[0].Action, resume)
	}
}
