package devcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"

	"windlass.dev/internal/devcluster/gateway"
)

// gatewayUser is who acts for the gateway.
const gatewayUser = "windlass:gateway"

// GatewayClass is the class whose Gateways the cluster serves.
const GatewayClass = "windlass"

// propagation is how long it takes until a gateway has heard of a change: real ones
// take from tens of milliseconds to a few seconds.
const propagation = time.Second

// gatewayFile has the gateway's own address, for people and scripts.
const gatewayFile = "gateway"

// startGateway starts the gateway and makes its class. Without process nodes nothing answers
// behind it, but routes and Gateways are accepted or refused in the same way.
func (c *Cluster) startGateway(ctx context.Context) error {
	config, err := c.ConfigFor(gatewayUser, "system:masters")
	if err != nil {
		return err
	}
	config.QPS = -1 // The status of a thousand routes is not to wait.
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	resources, err := gatewayclient.NewForConfig(config)
	if err != nil {
		return err
	}
	o := gateway.Options{Client: client, Resources: resources, Listen: "127.0.0.1:0", Octet: c.simulator.number, Delay: propagation}
	if c.gateway, err = gateway.Start(ctx, o); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	class := &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: GatewayClass}, Spec: gatewayv1.GatewayClassSpec{ControllerName: gateway.ControllerName}}
	_, err = resources.GatewayV1().GatewayClasses().Create(ctx, class, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make GatewayClass %s: %w", GatewayClass, err)
	}
	if !c.options.runsProcesses() {
		return nil
	}
	return os.WriteFile(filepath.Join(c.options.Dir, gatewayFile), []byte(c.gateway.Address()+"\n"), 0o600)
}

// MakeGateway makes a Gateway that takes the routes of all namespaces, by HTTP on port 80,
// unless it is there.
func MakeGateway(ctx context.Context, config *rest.Config, namespace, name string) error {
	client, err := gatewayclient.NewForConfig(config)
	if err != nil {
		return err
	}
	made := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: gatewayv1.GatewaySpec{
		GatewayClassName: GatewayClass,
		Listeners: []gatewayv1.Listener{{
			Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType,
			AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: new(gatewayv1.NamespacesFromAll)}},
		}},
	}}
	_, err = client.GatewayV1().Gateways(namespace).Create(ctx, made, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
