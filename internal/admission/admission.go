// Package admission owns what the Lease v1beta1.AdmissionFreeze means: that a cluster
// admits no new installations for a while. Who freezes and who waits read it alike.
package admission

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1beta1"
)

// Freeze is what a Lease says.
type Freeze struct {
	// By is who has frozen admission.
	By string
	// Since is when it began, and Until when it ends if it is not renewed.
	Since, Until time.Time
}

// Of reads a Lease, or none. It is nil when nobody holds it now.
func Of(lease *coordinationv1.Lease, now time.Time) *Freeze {
	if lease == nil {
		return nil
	}
	spec := lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.RenewTime == nil || spec.LeaseDurationSeconds == nil {
		return nil
	}
	f := &Freeze{By: *spec.HolderIdentity, Since: spec.RenewTime.Time, Until: spec.RenewTime.Add(time.Duration(*spec.LeaseDurationSeconds) * time.Second)}
	if spec.AcquireTime != nil {
		f.Since = spec.AcquireTime.Time
	}
	if !now.Before(f.Until) {
		return nil
	}
	return f
}

// Hold returns the Lease as it has to be stored so that by holds it from now on. lease is
// the one that there is, whose resource version guards against another holder; nil for
// none. It does not look whether somebody else holds it.
func Hold(lease *coordinationv1.Lease, namespace, by string, lasts time.Duration, now time.Time) *coordinationv1.Lease {
	held := Of(lease, now)
	if lease == nil {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1beta1.AdmissionFreeze}}
	}
	lease = lease.DeepCopy()
	at := metav1.NewMicroTime(now)
	if held == nil || held.By != by {
		lease.Spec.AcquireTime = &at
	}
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = &by, &at
	lease.Spec.LeaseDurationSeconds = new(int32(lasts / time.Second))
	return lease
}
