package rollout

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/fleet/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// Preview is what a roll-out would do, or has still to do, in the order in which it would.
type Preview struct {
	Waves []PreviewedWave `json:"waves"`
	// Hibernating get the change when they wake, and Paused when they are no longer.
	Hibernating []string `json:"hibernating,omitempty"`
	Paused      []string `json:"paused,omitempty"`
	// Superseded counts installations by the newer roll-out that has them.
	Superseded map[string]int `json:"superseded,omitempty"`
	// MaxInFlight is how many may be updating at a time.
	MaxInFlight int `json:"maxInFlight"`
}

// PreviewedWave is one wave.
type PreviewedWave struct {
	Number int `json:"number"`
	// SoakSeconds is how long it is watched.
	SoakSeconds int64 `json:"soakSeconds,omitempty"`
	// Installations are those that do not have the revision.
	Installations []PreviewedInstallation `json:"installations"`
}

// PreviewedInstallation is one installation.
type PreviewedInstallation struct {
	// Name is namespace/name.
	Name    string            `json:"name"`
	Changes []PreviewedChange `json:"changes,omitempty"`
	// Refused is why it cannot be changed, if that is known.
	Refused string `json:"refused,omitempty"`
	// Action is what would be done.
	Action plan.Action `json:"-"`
}

// PreviewedChange is what would be different.
type PreviewedChange struct {
	// Field is named as in the annotation fleet.windlass.dev/keeps.
	Field string `json:"field"`
	From  any    `json:"from,omitempty"`
	To    any    `json:"to,omitempty"`
}

// Total is how many installations would be changed.
func (p Preview) Total() (n int) {
	for _, w := range p.Waves {
		n += len(w.Installations)
	}
	return n
}

// Refused is how many of them cannot be changed.
func (p Preview) Refused() (n int) {
	for _, w := range p.Waves {
		for _, one := range w.Installations {
			if one.Refused != "" {
				n++
			}
		}
	}
	return n
}

// PreviewOf is an error if the spec cannot be carried out.
func PreviewOf(s Snapshot, now time.Time) (Preview, error) {
	d := &decider{s: &s, now: now, recorded: &s.Rollout.Status, status: s.Rollout.Status.DeepCopy(), superseded: map[string]int{}}
	var err error
	if d.settings, err = parse(&s.Rollout.Spec); err == nil {
		err = d.settings.lasts(s.Rollout.Spec.Change)
	}
	if err != nil {
		return Preview{}, err
	}
	if hash := Hash(s.Rollout.Spec.Change); d.status.Revision == nil || d.status.Revision.Hash != hash {
		d.status.Revision = &v1alpha1.Revision{Hash: hash, Sequence: 1<<63 - 1, Since: metav1.NewTime(now)} // It will be newer than all.
	}
	d.find()
	p := Preview{Superseded: d.superseded, MaxInFlight: d.settings.maxInFlight(d.total)}
	p.Waves = make([]PreviewedWave, len(d.settings.waves))
	for n, w := range d.settings.waves {
		p.Waves[n] = PreviewedWave{Number: n, SoakSeconds: int64(w.soak / time.Second), Installations: []PreviewedInstallation{}}
	}
	for _, m := range d.members {
		switch {
		case m.state == hibernating:
			p.Hibernating = append(p.Hibernating, m.Name)
		case m.state == awaiting && m.Paused:
			p.Paused = append(p.Paused, m.Name)
		case m.state == awaiting:
			w := &p.Waves[m.wave]
			w.Installations = append(w.Installations, d.previewed(m))
		}
	}
	// The last wave has what no other one has, which may be nothing.
	if last := len(p.Waves) - 1; len(p.Waves[last].Installations) == 0 {
		p.Waves = p.Waves[:last]
	}
	return p, nil
}

func (d *decider) previewed(m *member) PreviewedInstallation {
	p := PreviewedInstallation{Name: m.Name}
	if d.s.Rollout.Spec.Change.Migrate {
		p.Changes = []PreviewedChange{{Field: "migrate", To: true}}
	} else {
		p.Changes = differences(d.s.Rollout.Spec.Change, m.Mattermost)
	}
	r := d.s.Rollout.DeepCopy()
	r.Status.Revision = d.status.Revision
	action, err := take(r, m.Installation, d.time().Time)
	if p.Action = action; err != nil {
		p.Refused = err.Error()
	}
	return p
}

func differences(change v1alpha1.InstallationChange, mm *installations.Mattermost) (all []PreviewedChange) {
	live, wanted := content(mm), parts(change, mm.Annotations[v1alpha1.KeepsAnnotation])
	for _, part := range slices.Sorted(maps.Keys(wanted)) {
		if was := partOf(live, part); !same(was, wanted[part]) {
			all = append(all, PreviewedChange{Field: part, From: was, To: wanted[part]})
		}
	}
	return all
}
