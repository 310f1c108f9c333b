package installation

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// albController is the controller of the classes of AWS load balancers.
const albController = "ingress.k8s.aws/alb"

// MakeIngressClass makes a class. A class is the whole cluster's, so one that
// exists is never changed, and none is ever deleted.
type MakeIngressClass struct{ Class *networkingv1.IngressClass }

func (m MakeIngressClass) String() string { return "make IngressClass/" + m.Class.Name }

// NeedsIngressClass names the class that has to exist and that the spec does not
// name; empty for none. It is the installation's name, as the Mattermost Operator
// has it.
func NeedsIngressClass(mm *v1beta1.Mattermost) string {
	if routing(mm) != routingALB || mm.Spec.AWSLoadBalancerController.IngressClassName != "" {
		return ""
	}
	return mm.Name
}

func makeIngressClass(mm *v1beta1.Mattermost, live *networkingv1.IngressClass) []plan.Step {
	name := NeedsIngressClass(mm)
	if name == "" || live != nil {
		return nil
	}
	class := &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels(mm)},
		Spec:       networkingv1.IngressClassSpec{Controller: albController},
	}
	return []plan.Step{{Action: MakeIngressClass{class}, Why: "the AWS load balancer needs a class and the spec names none"}}
}

// checkIngressClass refuses to use a class of the installation's name that is for
// something else.
func checkIngressClass(mm *v1beta1.Mattermost, live *networkingv1.IngressClass) []Problem {
	if NeedsIngressClass(mm) == "" || live == nil || live.Spec.Controller == albController {
		return nil
	}
	return []Problem{{
		Path: "spec.awsLoadBalancerController.ingressClassName", Reason: v1beta1.ReasonIngressClassInvalid,
		Message: fmt.Sprintf("IngressClass %q exists and is for the controller %q, so it is left alone: name a class whose controller is %s.", live.Name, live.Spec.Controller, albController),
	}}
}
