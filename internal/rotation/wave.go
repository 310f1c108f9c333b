package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
)

// inWave is how many machines of a group may still go in the waves so far; all of them
// after the last.
func (d *decider) inWave(g *group) int {
	if d.ending() || d.status.WaveSize == 0 {
		return g.leaving
	}
	return max(int(d.status.WaveSize)-g.done, 0)
}

// waves begins the first wave, notices that one is done, and begins the next when it has
// been watched for long enough.
func (d *decider) waves(active []*group) {
	if d.ending() || len(active) == 0 || len(d.unknown) > 0 {
		return
	}
	st := active[0].strategy
	fresh := d.fresh(active)
	if fresh && d.status.WaveDoneAt == nil { // Each rank of groups has its own canary.
		d.status.Wave, d.status.WaveSize = 0, st.waveSize(0)
	}
	if d.status.WaveSize == 0 || fresh && d.status.WaveDoneAt == nil {
		d.status.Phase = v1alpha1.Rotating
		return
	}
	if d.status.WaveDoneAt == nil {
		if !d.waveDone(active) {
			d.status.Phase = v1alpha1.Rotating
			return
		}
		d.status.WaveDoneAt = new(metav1.NewTime(d.now))
	}
	d.status.Phase = v1alpha1.Baking
	bake := st.bake(d.status.Wave)
	over := d.status.WaveDoneAt.Add(bake)
	if d.now.Before(over) {
		d.wakeAt(over)
		d.wait(v1alpha1.Wait{Subject: "the run", Reason: v1alpha1.ReasonBaking, Message: fmt.Sprintf("wave %d is watched for %s", d.status.Wave, bake), Until: new(metav1.NewTime(over))})
		return
	}
	if !d.gatesPass() {
		return
	}
	if d.status.Wave++; fresh {
		d.status.Wave = 0 // It was the last of another rank.
	}
	d.status.WaveDoneAt = nil
	d.status.WaveSize = st.waveSize(d.status.Wave)
	d.status.Phase = v1alpha1.Rotating
}

// fresh says that nothing has been done for the groups yet.
func (d *decider) fresh(active []*group) bool {
	return !slices.ContainsFunc(active, func(g *group) bool { return g.done > 0 || g.records > 0 || g.skipped > 0 })
}

// waveDone says that the nodes of the wave are replaced, and the new ones Ready.
func (d *decider) waveDone(active []*group) bool {
	for _, g := range active {
		if g.records > 0 || d.inWave(g) > 0 && g.untried > 0 || d.unwritten(g) {
			return false
		}
		if !d.settled(g) {
			d.notReady(g)
			return false
		}
	}
	return true
}

// waveSize is how many nodes of each group belong to the waves up to this one; 0 for all.
func (s *strategy) waveSize(wave int32) int32 {
	var size, next int32
	for i := int32(0); ; i++ {
		switch {
		case i == 0 && s.canary > 0:
			size, next = s.canary, s.first
		case next == 0 && (s.first == 0 || i > 0):
			return 0 // No waves, or the canary was the last but one.
		default:
			size, next = size+cmp.Or(next, s.first), cmp.Or(next, s.first)*s.factor
		}
		if i == wave {
			return size
		}
		if size > 1<<20 { // More than any group has.
			return 0
		}
	}
}

// bake is how long a wave is watched.
func (s *strategy) bake(wave int32) time.Duration {
	if wave == 0 && s.canary > 0 {
		return s.canaryBake
	}
	return s.waveBake
}
