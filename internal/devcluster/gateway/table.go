package gateway

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// table is what is served by one listener. It is not changed once it is made.
type table struct{ sites hosts[*site] }

// site has the rules for one host, in the order in which they are tried, and the site
// that is asked when none of them matches: that of the next less specific host.
type site struct {
	host  string
	rules []rule
	next  *site
}

// rule sends what it matches to where its action says.
type rule struct {
	// host is exact, or *.example.com, or empty for all.
	host string
	path path
	// method, if there is one, headers and queries have to be there too.
	method  string
	headers []condition
	queries []condition
	action  *action
}

// path is a prefix of whole segments, unless exact says that it is all of it, or regex is
// what all of it has to match.
type path struct {
	value string
	exact bool
	regex *regexp.Regexp
}

// condition is on a header, by its canonical name, or on a parameter of the query.
type condition struct {
	name, value string
	regex       *regexp.Regexp
}

// action is what is done with a request.
type action struct {
	// timeout bounds a request, and backendTimeout what a backend takes; 0 does not.
	timeout, backendTimeout time.Duration
	filters                 filters
	// redirect answers instead of the backends; nil for none.
	redirect *redirect
	rewrite  *rewrite
	mirrors  []mirror
	cors     *cors
	backends []backend
}

// backend is a Service's port. Its share is its weight's part of all.
type backend struct {
	weight int
	// endpoints is nil for a reference that leads nowhere: its share is an error.
	endpoints *endpoints
	filters   filters
}

// endpoints are the addresses behind a Service's port.
type endpoints struct {
	addresses []string
	// h2c says that they speak HTTP/2 without TLS.
	h2c bool
}

// order returns all addresses in turn, beginning with any: endpoints are made anew with
// each plan, and a count of requests that begins with them would favour the first ones.
func (e *endpoints) order() []string {
	if len(e.addresses) == 0 {
		return nil
	}
	first := rand.IntN(len(e.addresses))
	return slices.Concat(e.addresses[first:], e.addresses[:first])
}

// compile makes the table of rules. Of those for one host it tries them in the order in
// which the Gateway API has them matched: the exact or longest path, then the most
// conditions; of equals the first one given.
// See https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule.
func compile(rules []rule) *table {
	of := map[string][]rule{}
	for _, r := range rules {
		of[r.host] = append(of[r.host], r)
	}
	t := &table{}
	for host, list := range of {
		slices.SortStableFunc(list, precedence)
		t.sites.set(host, &site{host: host, rules: list})
	}
	for host := range of {
		if host == "" {
			continue
		}
		s, _ := t.sites.find(host)
		if strings.HasPrefix(host, "*") {
			s = t.sites.wild[host[1:]]
		}
		s.next, _ = t.sites.beneath(host)
	}
	return t
}

func precedence(a, b rule) int {
	return cmp.Or(
		compareBool(b.path.exact, a.path.exact), compareBool(b.path.regex != nil, a.path.regex != nil),
		cmp.Compare(len(b.path.value), len(a.path.value)), compareBool(b.method != "", a.method != ""),
		cmp.Compare(len(b.headers), len(a.headers)), cmp.Compare(len(b.queries), len(a.queries)))
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

// find returns the first rule that matches.
func (t *table) find(host string, r *http.Request) *rule {
	query := query{raw: r.URL.RawQuery}
	for s, _ := t.sites.find(host); s != nil; s = s.next {
		for i := range s.rules {
			if s.rules[i].matches(r, &query) {
				return &s.rules[i]
			}
		}
	}
	return nil
}

// query is read when the first rule asks for a parameter.
type query struct {
	raw    string
	values url.Values
}

func (q *query) get(name string) (string, bool) {
	if q.values == nil {
		q.values, _ = url.ParseQuery(q.raw) // What can be read of it counts.
	}
	values := q.values[name]
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}

func (u *rule) matches(r *http.Request, q *query) bool {
	if u.method != "" && u.method != r.Method || !u.path.matches(r.URL.Path) {
		return false
	}
	for _, c := range u.headers {
		values := r.Header[c.name]
		if len(values) == 0 || !c.matches(strings.Join(values, ",")) {
			return false
		}
	}
	for _, c := range u.queries {
		value, ok := q.get(c.name)
		if !ok || !c.matches(value) {
			return false
		}
	}
	return true
}

func (c condition) matches(value string) bool {
	if c.regex != nil {
		return c.regex.MatchString(value)
	}
	return c.value == value
}

func (p path) matches(path string) bool {
	switch {
	case p.regex != nil:
		return p.regex.MatchString(path)
	case p.exact:
		return path == p.value
	default:
		rest, ok := strings.CutPrefix(path, strings.TrimSuffix(p.value, "/"))
		return ok && (rest == "" || rest[0] == '/')
	}
}

// pick chooses a backend by the weights; nil when all have none.
func (a *action) pick() *backend {
	if len(a.backends) == 1 && a.backends[0].weight > 0 {
		return &a.backends[0]
	}
	total := 0
	for _, b := range a.backends {
		total += b.weight
	}
	if total == 0 {
		return nil
	}
	n := rand.IntN(total)
	for i := range a.backends {
		if n -= a.backends[i].weight; n < 0 {
			return &a.backends[i]
		}
	}
	return nil
}
