package devcluster

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"windlass.dev/internal/devcluster/gateway"
)

//go:embed standins.yaml
var standInDefinitions []byte

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// standIns take the place of the operators of databases and file stores: what a
// client of theirs waits for appears at once, and nothing serves behind it.
type standIns struct {
	client  kubernetes.Interface
	dynamic dynamic.Interface
}

// standIn is one operator: for each resource it makes what others connect to and
// returns the status that says so.
type standIn func(ctx context.Context, s *standIns, resource *unstructured.Unstructured) (status map[string]any, err error)

var operators = map[schema.GroupVersionResource]standIn{
	{Group: "mysql.presslabs.org", Version: "v1alpha1", Resource: "mysqlclusters"}:    mysqlCluster,
	{Group: "miniocontroller.min.io", Version: "v1beta1", Resource: "minioinstances"}: minioInstance,
	{Group: "postgresql.cnpg.io", Version: "v1", Resource: "clusters"}:                postgresCluster,
}

// startStandIns makes the definitions and lets the stand-ins react.
func (s *simulator) startStandIns(ctx context.Context, config *rest.Config, client kubernetes.Interface) error {
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, list := range [][]byte{standInDefinitions, gateway.Definitions} {
		if err := makeDefinitions(ctx, dyn, list); err != nil {
			return err
		}
	}
	all := &standIns{client: client, dynamic: dyn}
	for resource, operator := range operators {
		s.running.Go(func() {
			if served(ctx, dyn, resource) {
				s.follow(ctx, dynamicinformer.NewFilteredDynamicInformer(dyn, resource, metav1.NamespaceAll, resync, nil, nil).Informer(), all.reaction(ctx, resource, operator))
			}
		})
	}
	return nil
}

// served waits, beside the start of the cluster, until the API server serves a
// new definition; false means that ctx ended first.
func served(ctx context.Context, client dynamic.Interface, resource schema.GroupVersionResource) bool {
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := client.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	})
	return err == nil
}

// reaction is what an operator does about one resource.
func (s *standIns) reaction(ctx context.Context, resource schema.GroupVersionResource, operator standIn) func(any) error {
	return func(object any) error {
		o, ok := object.(*unstructured.Unstructured)
		if !ok || o.GetDeletionTimestamp() != nil {
			return nil
		}
		status, err := operator(ctx, s, o)
		if err != nil {
			return err
		}
		return s.report(ctx, resource, o, status)
	}
}

func makeDefinitions(ctx context.Context, client dynamic.Interface, list []byte) error {
	decoder := yamlutil.NewYAMLOrJSONDecoder(bytes.NewReader(list), 4096)
	for {
		var definition unstructured.Unstructured
		err := decoder.Decode(&definition.Object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read definitions: %w", err)
		}
		// One that is there stays: it may be the real one.
		_, err = client.Resource(definitions).Create(ctx, &definition, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("make definition %s: %w", definition.GetName(), err)
		}
	}
}

// report stores the status if it says something else than the stored one.
func (s *standIns) report(ctx context.Context, resource schema.GroupVersionResource, o *unstructured.Unstructured, status map[string]any) error {
	stored, _, _ := unstructured.NestedMap(o.Object, "status")
	if fmt.Sprint(withoutTimes(stored)) == fmt.Sprint(withoutTimes(status)) {
		return nil
	}
	o = o.DeepCopy()
	o.Object["status"] = status
	_, err := s.dynamic.Resource(resource).Namespace(o.GetNamespace()).UpdateStatus(ctx, o, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return nil // The change that we have not seen yet brings us back.
	}
	return ignoreNotFound(err)
}

func withoutTimes(status map[string]any) map[string]any {
	some := map[string]any{}
	for key, value := range status {
		if list, ok := value.([]any); ok && key == "conditions" {
			var conditions []any
			for _, item := range list {
				if c, ok := item.(map[string]any); ok {
					conditions = append(conditions, c["type"], c["status"])
				}
			}
			value = conditions
		}
		some[key] = value
	}
	return some
}

func ready(reason, message string) []any {
	return []any{map[string]any{
		"type": "Ready", "status": "True", "reason": reason, "message": message,
		"lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
	}}
}

func ownedBy(o *unstructured.Unstructured, name string) metav1.ObjectMeta {
	gvk := o.GroupVersionKind()
	return metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: name, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(o, gvk)}}
}

// services makes the Services that are missing.
func (s *standIns) services(ctx context.Context, o *unstructured.Unstructured, port int32, names ...string) error {
	for _, name := range names {
		service := &corev1.Service{ObjectMeta: ownedBy(o, name), Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: port}}}}
		_, err := s.client.CoreV1().Services(o.GetNamespace()).Create(ctx, service, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// count returns a number of the spec, or its default.
func count(o *unstructured.Unstructured, field string, otherwise int64) int64 {
	n, ok, err := unstructured.NestedInt64(o.Object, "spec", field)
	if !ok || err != nil {
		return otherwise
	}
	return n
}

// mysqlCluster stands in for Presslabs' operator, which starts only when the
// Secret with the root's password is there.
func mysqlCluster(ctx context.Context, s *standIns, o *unstructured.Unstructured) (map[string]any, error) {
	secret, _, _ := unstructured.NestedString(o.Object, "spec", "secretName")
	if _, err := s.client.CoreV1().Secrets(o.GetNamespace()).Get(ctx, secret, metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("MysqlCluster %s: %w", o.GetName(), err)
	}
	if err := s.services(ctx, o, 3306, o.GetName()+"-mysql-master", o.GetName()+"-mysql"); err != nil {
		return nil, err
	}
	return map[string]any{"readyNodes": count(o, "replicas", 1), "conditions": ready("ClusterReady", "Simulated.")}, nil
}

// minioInstance stands in for MinIO's operator.
func minioInstance(ctx context.Context, s *standIns, o *unstructured.Unstructured) (map[string]any, error) {
	if err := s.services(ctx, o, 9000, o.GetName()+"-hl-svc"); err != nil {
		return nil, err
	}
	return map[string]any{"currentState": "Ready"}, nil
}

// postgresCluster stands in for CloudNativePG, with the Secret of the owner of
// the application's database.
func postgresCluster(ctx context.Context, s *standIns, o *unstructured.Unstructured) (map[string]any, error) {
	name, namespace := o.GetName(), o.GetNamespace()
	if err := s.services(ctx, o, 5432, name+"-rw", name+"-ro", name+"-r"); err != nil {
		return nil, err
	}
	database, ok, _ := unstructured.NestedString(o.Object, "spec", "bootstrap", "initdb", "database")
	if !ok {
		database = "app"
	}
	user, ok, _ := unstructured.NestedString(o.Object, "spec", "bootstrap", "initdb", "owner")
	if !ok {
		user = database
	}
	host, password := name+"-rw", rand.Text()
	secret := &corev1.Secret{ObjectMeta: ownedBy(o, name+"-app"), Type: corev1.SecretTypeBasicAuth, StringData: map[string]string{
		"username": user, "user": user, "password": password, "dbname": database, "host": host, "port": "5432",
		"uri": fmt.Sprintf("postgresql://%s:%s@%s.%s:5432/%s", user, password, host, namespace, database),
	}}
	_, err := s.client.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	instances := count(o, "instances", 1)
	return map[string]any{
		"instances": instances, "readyInstances": instances, "currentPrimary": name + "-1",
		"phase": "Cluster in healthy state", "conditions": ready("ClusterIsReady", "Simulated."),
	}, nil
}
