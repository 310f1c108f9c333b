package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// cors says which origins may use the answers, as
// https://fetch.spec.whatwg.org/#http-cors-protocol has it.
type cors struct {
	origins, methods, allowed, exposed []string
	credentials                        bool
	maxAge                             int32
}

// preflight says that a request asks what is allowed.
func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// allow sets the headers for an origin, and says whether there are any: an origin that is
// not allowed gets none, so that a browser keeps the answer from it.
func (c *cors) allow(origin string, h http.Header) bool {
	if origin == "" || !slices.ContainsFunc(c.origins, func(pattern string) bool { return originMatches(pattern, origin) }) {
		return false
	}
	if slices.Contains(c.origins, "*") && !c.credentials {
		origin = "*"
	} else {
		h.Add("Vary", "Origin")
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if c.credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if len(c.exposed) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(c.exposed, ", "))
	}
	return true
}

// answer is for a preflight request.
func (c *cors) answer(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if c.allow(r.Header.Get("Origin"), h) {
		c.list(h, "Access-Control-Allow-Methods", c.methods, r.Header.Get("Access-Control-Request-Method"))
		c.list(h, "Access-Control-Allow-Headers", c.allowed, strings.Join(r.Header.Values("Access-Control-Request-Headers"), ", "))
		if c.maxAge > 0 {
			h.Set("Access-Control-Max-Age", strconv.Itoa(int(c.maxAge)))
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// list says what is allowed. A star means nothing to a browser that sends credentials, so
// what it asked for is allowed by name.
func (c *cors) list(h http.Header, name string, allowed []string, asked string) {
	value := strings.Join(allowed, ", ")
	if slices.Contains(allowed, "*") {
		value = "*"
		if asked != "" {
			value = asked
		}
	}
	if value != "" {
		h.Set(name, value)
	}
}

// originMatches: a star is any origin, and in a host one or more labels.
func originMatches(pattern, origin string) bool {
	if pattern == "*" || strings.EqualFold(pattern, origin) {
		return true
	}
	before, after, wild := strings.Cut(strings.ToLower(pattern), "*")
	origin = strings.ToLower(origin)
	return wild && len(origin) > len(before)+len(after) && strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after)
}
