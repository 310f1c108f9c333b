package virtual

import (
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
)

// limits are what the strategy allows, worked out independently of the code under test.
func limits(run *v1alpha1.NodeRotation, group *v1alpha1.NodeGroup, size int) (surge, unavailable int) {
	if group.Spec.Role == v1alpha1.ControlPlane {
		return 0, 1
	}
	s, u := intstr.FromString("25%"), intstr.FromInt32(0)
	if st := run.Spec.Strategy; st != nil {
		if st.MaxSurge != nil {
			s = *st.MaxSurge
		}
		if st.MaxUnavailable != nil {
			u = *st.MaxUnavailable
		}
	}
	surge, _ = intstr.GetScaledValueFromIntOrPercent(&s, size, true)
	unavailable, _ = intstr.GetScaledValueFromIntOrPercent(&u, size, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}
