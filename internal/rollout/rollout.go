// Package rollout decides how one change reaches many installations: which of them get it
// next, when a wave is done, and what is given back. It carries out nothing itself, and what
// an installation makes of the change is up to whoever looks after installations.
//
// What was done to an installation is remembered on it: the change, the revision and what was
// there before are written by one apply, which the API server refuses if the installation has
// changed since it was read. What a roll-out records of itself, its revision, wave and outcome,
// is stored before it is acted upon; and so are the names of those that failed, since whoever
// helps one takes from it what tells that.
package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"windlass.dev/api/fleet/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
)

// Snapshot is everything that a decision about one roll-out may look at.
type Snapshot struct {
	// Rollout is the resource as it is stored.
	Rollout *v1alpha1.InstallationRollout
	// Others are all other roll-outs.
	Others []v1alpha1.InstallationRollout
	// Installations are all that there are.
	Installations []*Installation
	// Observed is what checks of gates have seen since the last decision.
	Observed map[string]gate.Observation
	// Refused are installations, by their names, that could not be changed as the roll-out
	// is now.
	Refused map[string]Refusal
}

// Refusal is that a change of an installation failed, as by an admission policy.
type Refusal struct {
	// Message is the answer of the API server.
	Message string
	// Again is when to try once more.
	Again time.Time
}

// Hash names a change: the same change has the same, in each process and version.
func Hash(change v1alpha1.InstallationChange) string {
	content, err := json.Marshal(change)
	if err != nil {
		panic("a change that came as JSON cannot be written as JSON: " + err.Error())
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:5])
}

// Over reports whether a revision has come to its end. One that succeeded, or was
// superseded, still looks after installations that wake or are made.
func Over(phase v1alpha1.Phase) bool {
	switch phase {
	case v1alpha1.Succeeded, v1alpha1.Superseded, v1alpha1.RolledBack, v1alpha1.Aborted:
		return true
	default:
		return false
	}
}

// Gates are those that are to be checked now: none of a roll-out that is over or ending.
func Gates(r *v1alpha1.InstallationRollout) []run.Gate {
	if r.Spec.Strategy == nil || Over(r.Status.Phase) || r.Status.Outcome != "" || r.Spec.End != "" {
		return nil
	}
	return r.Spec.Strategy.Gates
}
