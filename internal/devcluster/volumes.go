package devcluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
)

const (
	storageClass = "standard"
	provisioner  = "simulated.windlass.dev/volumes"
)

// makeStorageClass makes the default class, whose claims are bound at once.
func makeStorageClass(ctx context.Context, client kubernetes.Interface) error {
	class := &storagev1.StorageClass{
		ObjectMeta:        metav1.ObjectMeta{Name: storageClass, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner:       provisioner,
		ReclaimPolicy:     new(corev1.PersistentVolumeReclaimDelete),
		VolumeBindingMode: new(storagev1.VolumeBindingImmediate),
		// What is simulated can grow, too.
		AllowVolumeExpansion: new(true),
	}
	_, err := client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make StorageClass %s: %w", storageClass, err)
	}
	return nil
}

// startVolumes makes a volume for each claim of our class, and removes it when
// it is released, unless somebody has it retained. Binding the two is the control plane's work.
func (s *simulator) startVolumes(ctx context.Context, client kubernetes.Interface) {
	s.watch(ctx, client, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Core().V1().PersistentVolumeClaims().Informer()
	}, func(object any) error {
		claim, ok := object.(*corev1.PersistentVolumeClaim)
		if !ok || claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName != storageClass {
			return nil
		}
		if claim.Spec.VolumeName != "" {
			return ignoreNotFound(expand(ctx, client, claim))
		}
		_, err := client.CoreV1().PersistentVolumes().Create(ctx, volumeFor(claim), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	s.watch(ctx, client, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Core().V1().PersistentVolumes().Informer()
	}, func(object any) error {
		volume, ok := object.(*corev1.PersistentVolume)
		if !ok || volume.Status.Phase != corev1.VolumeReleased || volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete || volume.Annotations["pv.kubernetes.io/provisioned-by"] != provisioner {
			return nil
		}
		return ignoreNotFound(client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{}))
	})
}

// expand gives a bound claim the size that it asks for.
func expand(ctx context.Context, client kubernetes.Interface, claim *corev1.PersistentVolumeClaim) error {
	wanted, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if claim.Status.Phase != corev1.ClaimBound || wanted.Cmp(have) <= 0 {
		return nil
	}
	volume, err := client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	volume.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: wanted}
	if _, err := client.CoreV1().PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{}); err != nil {
		return err
	}
	claim = claim.DeepCopy()
	claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: wanted}
	_, err = client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	return err
}

func volumeFor(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "pv-" + string(claim.UID),
			Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              storageClass,
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			VolumeMode:                    claim.Spec.VolumeMode,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: "simulated.windlass.dev", VolumeHandle: string(claim.UID)},
			},
		},
	}
}

// watch is follow for a kind of Kubernetes' own.
func (s *simulator) watch(ctx context.Context, client kubernetes.Interface, of func(informers.SharedInformerFactory) cache.SharedIndexInformer, act func(any) error) {
	s.follow(ctx, of(informers.NewSharedInformerFactory(client, resync)), act)
}

// follow calls act for each object that is there, comes or changes, until ctx
// ends. What fails is logged, and tried again when the object changes or in the
// next resync of the informer.
func (s *simulator) follow(ctx context.Context, informer cache.SharedIndexInformer, act func(any) error) {
	try := func(object any) {
		if err := act(object); err != nil && ctx.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "Simulated no reaction", "kind", fmt.Sprintf("%T", object))
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    try,
		UpdateFunc: func(_, object any) { try(object) },
	})
	if err != nil {
		panic(err) // Only a stopped informer takes no handlers.
	}
	s.running.Go(func() { informer.RunWithContext(ctx) })
}
