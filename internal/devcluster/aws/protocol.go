package aws

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"windlass.dev/internal/devcluster/aws/wire"
	"windlass.dev/internal/devcluster/aws/world"
)

// protocol is how a service is spoken to.
type protocol interface {
	// find returns the action that a request is for.
	find(r *http.Request, body []byte) (request, error)
	// encode writes an answer.
	encode(a Action, answer any, id string) ([]byte, error)
	refuse(w http.ResponseWriter, why *world.Error, id string)
	contentType() string
}

// request is an action with its input.
type request struct {
	action Action
	input  any
}

func protocolsOf(actions []Action) map[string]protocol {
	of := func(service string) map[string]Action {
		all := map[string]Action{}
		for _, a := range actions {
			if a.Service == service {
				all[a.Name] = a
			}
		}
		return all
	}
	return map[string]protocol{
		EC2:         query{wire.EC2, of(EC2)},
		AutoScaling: query{wire.Query, of(AutoScaling)},
		STS:         query{wire.Query, of(STS)},
		ELB:         query{wire.Query, of(ELB)},
		SSM:         jsonRPC{of(SSM)},
		EKS:         newREST(of(EKS)),
	}
}

func unknownAction(name string) *world.Error {
	return &world.Error{Code: "InvalidAction", Message: "the action " + name + " is not known to the fake"}
}

// query is the query protocol: a form in, XML out.
type query struct {
	dialect wire.Dialect
	actions map[string]Action
}

func (q query) find(_ *http.Request, body []byte) (request, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return request{}, &world.Error{Code: "MalformedQueryString", Message: err.Error()}
	}
	a, ok := q.actions[form.Get("Action")]
	if !ok {
		return request{}, unknownAction(form.Get("Action"))
	}
	in := a.input()
	if err := wire.DecodeForm(form, q.dialect, in); err != nil {
		return request{}, &world.Error{Code: map[wire.Dialect]string{wire.EC2: "UnknownParameter", wire.Query: "ValidationError"}[q.dialect], Message: err.Error()}
	}
	return request{a, in}, nil
}

func (q query) encode(a Action, answer any, id string) ([]byte, error) {
	return wire.EncodeXML(a.Name, q.dialect, answer, id), nil
}

func (q query) refuse(w http.ResponseWriter, why *world.Error, id string) {
	send(w, status(why.Code), q.contentType(), wire.EncodeError(q.dialect, why.Code, why.Message, id))
}

func (q query) contentType() string { return "text/xml" }

// jsonRPC is JSON with the action in a header.
type jsonRPC struct{ actions map[string]Action }

func (j jsonRPC) find(r *http.Request, body []byte) (request, error) {
	_, name, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	a, ok := j.actions[name]
	if !ok {
		return request{}, unknownAction(name)
	}
	in := a.input()
	if err := wire.DecodeJSON(body, in, nil); err != nil {
		return request{}, &world.Error{Code: "ValidationException", Message: err.Error()}
	}
	return request{a, in}, nil
}

func (j jsonRPC) encode(_ Action, answer any, _ string) ([]byte, error) {
	return wire.EncodeJSON(answer, false)
}

func (j jsonRPC) refuse(w http.ResponseWriter, why *world.Error, _ string) {
	refuseJSON(w, why, j.contentType())
}

func (j jsonRPC) contentType() string { return "application/x-amz-json-1.1" }

// rest is JSON with the action in method and path.
type rest struct {
	routes  *http.ServeMux
	actions map[string]Action
}

func newREST(actions map[string]Action) rest {
	r := rest{http.NewServeMux(), map[string]Action{}}
	for _, a := range actions {
		pattern := a.method + " " + a.path
		r.actions[pattern] = a
		r.routes.Handle(pattern, http.NotFoundHandler())
	}
	return r
}

func (p rest) find(r *http.Request, body []byte) (request, error) {
	// The mux only says which pattern it is; it handles nothing.
	_, pattern := p.routes.Handler(r)
	a, ok := p.actions[pattern]
	if !ok {
		return request{}, unknownAction(r.Method + " " + r.URL.Path)
	}
	said := map[string]string{}
	parts := strings.Split(r.URL.EscapedPath(), "/")
	for n, part := range strings.Split(a.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			text, err := url.PathUnescape(parts[n])
			if err != nil {
				return request{}, &world.Error{Code: "InvalidParameterException", Message: err.Error()}
			}
			said[strings.TrimSuffix(name, "}")] = text
		}
	}
	for name, values := range r.URL.Query() {
		said[name] = values[0]
	}
	in := a.input()
	if err := wire.DecodeJSON(body, in, said); err != nil {
		return request{}, &world.Error{Code: "InvalidParameterException", Message: err.Error()}
	}
	return request{a, in}, nil
}

func (p rest) encode(_ Action, answer any, _ string) ([]byte, error) {
	return wire.EncodeJSON(answer, true)
}

func (p rest) refuse(w http.ResponseWriter, why *world.Error, _ string) {
	refuseJSON(w, why, p.contentType())
}

func (p rest) contentType() string { return "application/json" }

func refuseJSON(w http.ResponseWriter, why *world.Error, contentType string) {
	body, err := wire.EncodeJSON(struct{ Message string }{why.Message}, true)
	if err != nil {
		body = nil // The header says what it is.
	}
	w.Header().Set("X-Amzn-Errortype", why.Code)
	send(w, status(why.Code), contentType, body)
}

func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	// A caller who is gone has nobody to be told.
	_, _ = w.Write(body)
}

func status(code string) int {
	switch code {
	case "RequestLimitExceeded", "InsufficientInstanceCapacity", "Unavailable", "ServiceUnavailable":
		return http.StatusServiceUnavailable
	case "InternalFailure", "InternalError":
		return http.StatusInternalServerError
	case "ResourceNotFoundException":
		return http.StatusNotFound
	case "ResourceInUseException":
		return http.StatusConflict
	case "MissingAuthenticationToken":
		return http.StatusForbidden
	default:
		return http.StatusBadRequest
	}
}

// asError makes what a caller is told of any error.
func asError(err error) *world.Error {
	if refused, ok := errors.AsType[*world.Error](err); ok {
		return refused
	}
	return &world.Error{Code: "InternalFailure", Message: err.Error()}
}
