package fleetrotation

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	shared "windlass.dev/api/run/v1alpha1"
)

type (
	condition  = metav1.Condition
	gateStatus = shared.GateStatus
)

const (
	// lookEvery is how often clusters are looked at in which something goes on. Nothing
	// in another cluster is watched, so that one more costs no memory and no stream.
	lookEvery = 5 * time.Second
	// lookSoon is when to look for what a step has led to.
	lookSoon = time.Second
	// idleEvery is how often to look for clusters while none is selected.
	idleEvery = 30 * time.Second
	// inFlight is how long after the last answer of a cluster a write to it may still
	// arrive there.
	inFlight = 15 * time.Second
)

func freezes(fleet *v1alpha1.FleetRotation) bool {
	return fleet.Spec.FreezeAdmission == nil || *fleet.Spec.FreezeAdmission
}

func freezeLasts(fleet *v1alpha1.FleetRotation) time.Duration {
	return seconds(fleet.Spec.FreezeSeconds, 120)
}

func timeout(fleet *v1alpha1.FleetRotation) time.Duration {
	return seconds(fleet.Spec.ClusterTimeoutSeconds, 600)
}

func seconds(given *int32, otherwise int32) time.Duration {
	if given != nil {
		otherwise = *given
	}
	return time.Duration(otherwise) * time.Second
}

func bakeOf(fleet *v1alpha1.FleetRotation) time.Duration {
	return time.Duration(currentWave(fleet).BakeSeconds) * time.Second
}

// currentWave is the one that the status says; an empty one if there is none.
func currentWave(fleet *v1alpha1.FleetRotation) v1alpha1.FleetWave {
	if n := int(fleet.Status.Wave); n < len(fleet.Spec.Waves) {
		return fleet.Spec.Waves[n]
	}
	return v1alpha1.FleetWave{}
}

func parallel(wave v1alpha1.FleetWave) int { return int(max(wave.MaxParallel, 1)) }
