package agent

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// serviceLinks are the variables by which a program finds Services: the API server's,
// and those of the pod's namespace that there are when it starts. Their values are where
// the Services are reached from processes.
// See https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables.
func (p *pod) serviceLinks() (map[string]string, error) {
	all := map[string]string{}
	for _, namespace := range []string{metav1.NamespaceDefault, p.namespace()} {
		services, err := p.agent.services.Services(namespace).List(labels.Everything())
		if err != nil {
			return nil, err
		}
		for _, s := range services {
			master := s.Namespace == metav1.NamespaceDefault && s.Name == "kubernetes"
			enabled := p.object().Spec.EnableServiceLinks
			ours := s.Namespace == p.namespace() && (enabled == nil || *enabled)
			if (master || ours) && s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone {
				p.link(all, s)
			}
		}
	}
	return all, nil
}

// link adds a Service's variables.
func (p *pod) link(all map[string]string, s *corev1.Service) {
	name := variable(s.Name)
	for i, port := range s.Spec.Ports {
		host, at := p.agent.options.ServiceAt(s.Namespace, s.Name, s.Spec.ClusterIP, port.Port)
		number, protocol := strconv.Itoa(int(at)), strings.ToLower(string(port.Protocol))
		url := protocol + "://" + net.JoinHostPort(host, number)
		if i == 0 {
			all[name+"_SERVICE_HOST"], all[name+"_SERVICE_PORT"], all[name+"_PORT"] = host, number, url
		}
		if port.Name != "" {
			all[name+"_SERVICE_PORT_"+variable(port.Name)] = number
		}
		one := fmt.Sprintf("%s_PORT_%d_%s", name, port.Port, port.Protocol)
		all[one], all[one+"_PROTO"], all[one+"_PORT"], all[one+"_ADDR"] = url, protocol, number, host
	}
}

func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
