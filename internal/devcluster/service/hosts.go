package service

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// domain is the cluster's, as most clusters have it.
const domain = "svc.cluster.local"

// Hosts returns a file in the format of /etc/hosts with the names that a program in a
// namespace can use. It is kept up to date, in place: it may be mounted.
func (p *Proxy) Hosts(namespace string) (string, error) {
	path := filepath.Join(p.options.Dir, "hosts", namespace)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hosts[namespace] {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	if err := p.writeHosts(namespace, path); err != nil {
		return "", err
	}
	p.hosts[namespace] = true
	return path, nil
}

// refreshHosts brings all files that are in use up to date.
func (p *Proxy) refreshHosts() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for namespace := range p.hosts {
		if err := p.writeHosts(namespace, filepath.Join(p.options.Dir, "hosts", namespace)); err != nil {
			p.log("write the names for namespace %s: %v", namespace, err)
		}
	}
}

func (p *Proxy) writeHosts(namespace, path string) error {
	services, endpoints, err := p.list()
	if err != nil {
		return err
	}
	machine, err := os.ReadFile("/etc/hosts")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := string(machine) + "\n" + strings.Join(hosts(services, endpoints, namespace, p.options.Octet), "\n") + "\n"
	if have, err := os.ReadFile(path); err == nil && string(have) == text {
		return nil
	}
	return overwrite(path, text)
}

// overwrite changes a file in place, as it is mounted, and never empties it: who looks a name
// up meanwhile still finds those that stay.
func overwrite(path, text string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(text), 0)
	return errors.Join(err, file.Truncate(int64(len(text))), file.Close())
}

// hosts are the lines for Services, their ready endpoints if they are headless, and
// those endpoints' own names.
// See https://kubernetes.io/docs/concepts/services-networking/dns-pod-service.
func hosts(services []*corev1.Service, all []*discoveryv1.EndpointSlice, namespace string, octet int) []string {
	var lines []string
	add := func(address string, s *corev1.Service, name string) {
		at, err := netip.ParseAddr(address)
		if err != nil {
			return
		}
		if local, ok := Local(at, octet); ok {
			lines = append(lines, local.String()+" "+strings.Join(names(name, s.Namespace, namespace), " "))
		}
	}
	for _, s := range services {
		if s.Spec.ClusterIP != corev1.ClusterIPNone {
			add(s.Spec.ClusterIP, s, s.Name)
			continue
		}
		for _, slice := range all {
			if slice.Namespace != s.Namespace || slice.Labels[discoveryv1.LabelServiceName] != s.Name {
				continue
			}
			for _, e := range slice.Endpoints {
				if len(e.Addresses) == 0 || e.Conditions.Ready != nil && !*e.Conditions.Ready {
					continue
				}
				add(e.Addresses[0], s, s.Name)
				if e.Hostname != nil {
					add(e.Addresses[0], s, *e.Hostname+"."+s.Name)
				}
			}
		}
	}
	slices.SortFunc(lines, cmp.Compare[string])
	return lines
}

// names are the full name and the shorter ones that a resolver's search list would find.
func names(name, namespace, from string) []string {
	all := []string{
		fmt.Sprintf("%s.%s.%s", name, namespace, domain), fmt.Sprintf("%s.%s.svc", name, namespace), fmt.Sprintf("%s.%s", name, namespace),
	}
	if namespace == from {
		all = append(all, name)
	}
	return all
}
