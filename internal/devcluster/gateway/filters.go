package gateway

import (
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// filters change the headers of requests, and of their answers.
type filters struct{ request, response headers }

// headers are changes by canonical names.
type headers struct {
	set, add []header
	remove   []string
}

type header struct{ name, value string }

// change applies what is set, then what is added, then what is removed.
func (c *headers) change(h http.Header) {
	for _, one := range c.set {
		h[one.name] = []string{one.value}
	}
	for _, one := range c.add {
		h[one.name] = append(h[one.name], one.value)
	}
	for _, name := range c.remove {
		delete(h, name)
	}
}

// replacement is a new path, or a new prefix instead of the one that matched; nil keeps
// the path.
type replacement struct {
	value  string
	prefix bool
}

// apply returns the path in place of one that matched.
func (p *replacement) apply(path, matched string) string {
	switch {
	case p == nil:
		return path
	case !p.prefix:
		return p.value
	}
	rest := strings.TrimPrefix(path, strings.TrimSuffix(matched, "/"))
	value := strings.TrimSuffix(p.value, "/")
	if rest != "" && rest[0] != '/' || value+rest == "" {
		rest = "/" + rest
	}
	return value + rest
}

// rewrite changes what the backend sees.
type rewrite struct {
	host string
	path *replacement
}

// redirect sends a client elsewhere; what is empty stays.
type redirect struct {
	scheme, host, port string
	path               *replacement
	status             int
}

// target is where a request is sent that came to a port; 0 is the one that its host names.
// See https://gateway-api.sigs.k8s.io/reference/spec/#httprequestredirectfilter.
func (t *redirect) target(r *http.Request, matched string, port int) string {
	to := url.URL{Scheme: "http", Path: t.path.apply(r.URL.Path, matched), RawQuery: r.URL.RawQuery}
	if r.URL.RawPath != "" {
		to.RawPath = t.path.apply(r.URL.RawPath, matched) // Used only if it says the same.
	}
	if r.TLS != nil {
		to.Scheme = "https"
	}
	name, own := splitPort(r.Host)
	if port != 0 {
		own = strconv.Itoa(port)
	}
	if t.scheme != "" {
		to.Scheme, own = t.scheme, ""
	}
	if t.host != "" {
		name = t.host
	}
	if t.port != "" {
		own = t.port
	}
	if own == "" || own == "80" && to.Scheme == "http" || own == "443" && to.Scheme == "https" {
		to.Host = name
	} else {
		to.Host = net.JoinHostPort(strings.Trim(name, "[]"), own)
	}
	return to.String()
}

func splitPort(host string) (name, port string) {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i], host[i+1:]
	}
	return host, ""
}

// mirror sends a share of the requests to a backend too, whose answers nobody gets.
type mirror struct {
	endpoints *endpoints
	// numerator of denominator requests are sent.
	numerator, denominator int
}

func (m mirror) chosen() bool {
	return m.endpoints != nil && rand.IntN(m.denominator) < m.numerator
}
