package gateway

import "strings"

// hosts finds what belongs to a host. A wildcard stands for one or more labels.
type hosts[T any] struct {
	exact map[string]T
	// wild is by what follows the star: .example.com.
	wild  map[string]T
	other T
	any   bool
}

// set takes a host, *.example.com, or the empty string for all others.
func (h *hosts[T]) set(host string, value T) {
	if h.exact == nil {
		h.exact, h.wild = map[string]T{}, map[string]T{}
	}
	suffix, wild := strings.CutPrefix(host, "*")
	switch {
	case host == "":
		h.other, h.any = value, true
	case wild:
		h.wild[suffix] = value
	default:
		h.exact[host] = value
	}
}

// find returns the value of the most specific name that matches a host.
func (h *hosts[T]) find(host string) (value T, ok bool) {
	if value, ok = h.exact[host]; ok {
		return value, true
	}
	return h.beneath(host)
}

// beneath is find among the names that are less specific than a host, or than a
// wildcard.
func (h *hosts[T]) beneath(name string) (value T, ok bool) {
	rest := strings.TrimPrefix(name, "*.")
	for len(h.wild) > 0 {
		dot := strings.IndexByte(rest, '.')
		if dot < 0 {
			break
		}
		if value, ok = h.wild[rest[dot:]]; ok {
			return value, true
		}
		rest = rest[dot+1:]
	}
	return h.other, h.any
}

// intersection returns the more specific of two names if there is a host that both match.
// See https://gateway-api.sigs.k8s.io/reference/api-types/httproute/#hostnames.
func intersection(a, b string) (name string, ok bool) {
	switch {
	case a == "" || a == b:
		return b, true
	case b == "":
		return a, true
	case matches(a, b):
		return b, true
	case matches(b, a):
		return a, true
	default:
		return "", false
	}
}

// matches says that every host of one name is one of the pattern's.
func matches(pattern, name string) bool {
	suffix, wild := strings.CutPrefix(pattern, "*")
	return wild && strings.HasSuffix(name, suffix) && len(name) > len(suffix)
}

// hostOf is a request's host without the port, in lower case.
func hostOf(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return strings.ToLower(host)
}
