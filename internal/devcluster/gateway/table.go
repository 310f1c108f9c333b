package gateway

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// table is what the gateway knows at one moment. It is not changed once it is made.
type table struct{ rules []rule }

// rule sends what it matches to its backends.
type rule struct {
	// host is exact, or *.example.com, or empty for all.
	host string
	// path is a prefix of whole segments, unless exact says that it is all of it.
	path  string
	exact bool
	// method, if there is one, and headers have to be there too.
	method  string
	headers map[string]string
	// timeout bounds a request; 0 does not.
	timeout time.Duration
	// set, add and remove change the headers of a request.
	set, add map[string]string
	remove   []string
	// redirect answers instead of the backends; nil for none.
	redirect *redirect
	backends []backend
}

// redirect sends a client elsewhere; what is empty stays.
type redirect struct {
	scheme, host, port string
	status             int
}

// backend is a Service's port. Its share is its weight's part of all.
type backend struct {
	weight    int
	endpoints *endpoints
}

// endpoints are the addresses behind a Service's port, taken in turn.
type endpoints struct {
	addresses []string
	next      atomic.Uint64
}

// order returns all addresses, beginning with another one each time.
func (e *endpoints) order() []string {
	if len(e.addresses) == 0 {
		return nil
	}
	first := int(e.next.Add(1) % uint64(len(e.addresses))) //nolint:gosec // Less than a length.
	return slices.Concat(e.addresses[first:], e.addresses[:first])
}

// sorted puts the rules in the order in which the Gateway API has them matched: the
// most specific host, then the exact or longest path, then the most conditions.
// See https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule.
func sorted(rules []rule) *table {
	slices.SortStableFunc(rules, func(a, b rule) int {
		return cmp.Or(
			cmp.Compare(specificity(b.host), specificity(a.host)), compareBool(b.exact, a.exact), cmp.Compare(len(b.path), len(a.path)),
			compareBool(b.method != "", a.method != ""), cmp.Compare(len(b.headers), len(a.headers)))
	})
	return &table{rules: rules}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// specificity is greater for a host that says more.
func specificity(host string) int {
	switch {
	case host == "":
		return 0
	case strings.HasPrefix(host, "*."):
		return len(host)
	default:
		return 1000 + len(host)
	}
}

// find returns the first rule that matches.
func (t *table) find(r *http.Request) *rule {
	host, _, _ := strings.Cut(r.Host, ":")
	for i := range t.rules {
		if t.rules[i].matches(strings.ToLower(host), r) {
			return &t.rules[i]
		}
	}
	return nil
}

func (u *rule) matches(host string, r *http.Request) bool {
	if !hostMatches(u.host, host) || u.method != "" && u.method != r.Method {
		return false
	}
	for name, value := range u.headers {
		if r.Header.Get(name) != value {
			return false
		}
	}
	if u.exact {
		return r.URL.Path == u.path
	}
	prefix := strings.TrimSuffix(u.path, "/")
	rest, ok := strings.CutPrefix(r.URL.Path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// hostMatches: a wildcard stands for one or more labels.
func hostMatches(pattern, host string) bool {
	if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
		return strings.HasSuffix(host, suffix) && len(host) > len(suffix)
	}
	return pattern == "" || pattern == host
}

// pick chooses a backend by the weights; nil when all have none.
func (u *rule) pick() *backend {
	total := 0
	for _, b := range u.backends {
		total += b.weight
	}
	if total == 0 {
		return nil
	}
	n := rand.IntN(total) //nolint:gosec // Chance, not a secret.
	for i := range u.backends {
		if n -= u.backends[i].weight; n < 0 {
			return &u.backends[i]
		}
	}
	return nil
}
