package gateway

import (
	"crypto/tls"
	"crypto/x509"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// clients says what the clients of a listener have to show: a certificate of one of the
// authorities, unless any will do.
type clients struct {
	authorities *x509.CertPool
	any         bool
}

// authorityKey is where a ConfigMap has certificates of authorities.
const authorityKey = "ca.crt"

// apply makes a server ask for it.
func (c *clients) apply(config *tls.Config) {
	switch {
	case c == nil:
	case c.any:
		config.ClientAuth = tls.RequestClientCert
	default:
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, c.authorities
	}
}

// validations are what a Gateway says of its clients, each for all ports or for one.
func validations(g *gatewayv1.Gateway) (otherwise *gatewayv1.FrontendTLSValidation, by map[gatewayv1.PortNumber]*gatewayv1.FrontendTLSValidation) {
	if g.Spec.TLS == nil || g.Spec.TLS.Frontend == nil {
		return nil, nil
	}
	by = map[gatewayv1.PortNumber]*gatewayv1.FrontendTLSValidation{}
	for _, p := range g.Spec.TLS.Frontend.PerPort {
		by[p.Port] = p.TLS.Validation
	}
	return g.Spec.TLS.Frontend.Default.Validation, by
}

// insecure says that somewhere certificates are asked for and not checked.
func insecure(g *gatewayv1.Gateway) bool {
	otherwise, by := validations(g)
	for _, v := range by {
		if v != nil && v.Mode == gatewayv1.AllowInsecureFallback {
			return true
		}
	}
	return otherwise != nil && otherwise.Mode == gatewayv1.AllowInsecureFallback
}

// validate reads what the clients of a listener have to show.
func (x *index) validate(l *listenerState, g *gatewayv1.Gateway) {
	validation, by := validations(g)
	if own, ok := by[l.spec.Port]; ok {
		validation = own
	}
	if validation == nil {
		return
	}
	l.clients = &clients{authorities: x509.NewCertPool(), any: validation.Mode == gatewayv1.AllowInsecureFallback}
	found := false
	for _, ref := range validation.CACertificateRefs {
		found = x.authority(l, g.Namespace, ref) || found
	}
	if !found {
		l.accepted = no(gatewayv1.ListenerReasonNoValidCACertificate, "No authority for the certificates of clients can be used: %s", l.resolved.message)
	}
}

// authority adds the certificates of a ConfigMap; false means that there are none.
func (x *index) authority(l *listenerState, namespace string, ref gatewayv1.ObjectReference) bool {
	name := types.NamespacedName{Namespace: namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	switch {
	case ref.Group != "" || ref.Kind != "ConfigMap":
		l.unresolved(gatewayv1.ListenerReasonInvalidCACertificateKind, "The authority %s is no ConfigMap.", name)
	case !x.permitted(reference{gatewayv1.GroupName, "Gateway", namespace}, reference{"", "ConfigMap", name.Namespace}, name.Name):
		l.unresolved(gatewayv1.ListenerReasonRefNotPermitted, "No ReferenceGrant in %s lets Gateways of %s use the ConfigMap %s.", name.Namespace, namespace, name.Name)
	case x.configMaps[name] == nil:
		l.unresolved(gatewayv1.ListenerReasonInvalidCACertificateRef, "There is no ConfigMap %s.", name)
	case !l.clients.authorities.AppendCertsFromPEM([]byte(x.configMaps[name].Data[authorityKey])):
		l.unresolved(gatewayv1.ListenerReasonInvalidCACertificateRef, "The ConfigMap %s has no certificate under %s.", name, authorityKey)
	default:
		return true
	}
	return false
}
