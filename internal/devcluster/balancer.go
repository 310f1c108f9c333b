package devcluster

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// resync is how often a simulator tries again what failed.
const resync = 10 * time.Second

// startBalancer gives each Service of type LoadBalancer an address. Nothing
// listens there: *.invalid is reserved for names that lead nowhere.
func (s *simulator) startBalancer(ctx context.Context, client kubernetes.Interface) {
	s.watch(ctx, client, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Core().V1().Services().Informer()
	}, func(object any) error {
		service, ok := object.(*corev1.Service)
		if !ok || service.Spec.Type != corev1.ServiceTypeLoadBalancer || len(service.Status.LoadBalancer.Ingress) > 0 {
			return nil
		}
		service = service.DeepCopy()
		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: service.Name + "." + service.Namespace + ".invalid"}}
		_, err := client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
		return ignoreNotFound(err)
	})
}
