// Package aws is a fake of the parts of AWS that node rotation needs: EC2, Auto Scaling,
// EKS, Systems Manager's parameters, STS and Elastic Load Balancing. It answers what the
// AWS SDK for Go v2 sends, on one address for all services, and can be made to fail in
// the ways in which AWS fails.
//
// It owns the way between the wire and package world, which owns what is true, and how
// the world's instances become nodes. It checks no signature and no permission.
package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"golang.org/x/time/rate"

	"windlass.dev/internal/devcluster/aws/world"
)

// Call is one request, as faults see it.
type Call struct {
	Service, Action string
	// Done is false before the call does anything, and true when it has done all but
	// answer.
	Done bool
}

// Failure is how a call fails: with an error, or by an end of the connection.
type Failure struct{ Error *world.Error }

// Limit is a token bucket.
type Limit struct {
	PerSecond float64 `json:"perSecond"`
	Burst     int     `json:"burst"`
}

// Server answers for a world.
type Server struct {
	world     *world.World
	clock     world.Clock
	region    string
	protocols map[string]protocol

	mu     sync.Mutex
	fault  func(Call) *Failure
	limits map[string]*rate.Limiter
	serial int

	// answered is by service, action and client token. It is only touched while the
	// world is locked.
	answered map[string]answer
}

type answer struct{ input, body []byte }

// NewServer returns a handler that answers for a world in one region.
func NewServer(w *world.World, clock world.Clock, region string) *Server {
	return &Server{
		world: w, clock: clock, region: region, protocols: protocolsOf(Actions()), limits: map[string]*rate.Limiter{}, answered: map[string]answer{},
	}
}

// Faults makes calls fail for which f returns a failure. f is called twice for each, and
// by several requests at once; nil ends it.
func (s *Server) Faults(f func(Call) *Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Throttle limits an action, such as ec2.DescribeInstances; nil lifts the limit. What is
// kept of an earlier limit's tokens is lost.
func (s *Server) Throttle(action string, l *Limit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.limits, action)
	if l != nil {
		s.limits[action] = rate.NewLimiter(rate.Limit(l.PerSecond), l.Burst)
	}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, provocations) {
		s.serveProvocation(w, r)
		return
	}
	id := s.nextID()
	w.Header().Set("X-Amzn-Requestid", id)
	service, region := signedFor(r)
	p, ok := s.protocols[service]
	if !ok {
		http.Error(w, fmt.Sprintf("the request is signed for the service %q, which is not known to the fake", service), http.StatusForbidden)
		return
	}
	body, err := s.answer(p, r, region, id)
	if errors.Is(err, errDropped) {
		panic(http.ErrAbortHandler) // It ends the connection without an answer.
	}
	if err != nil {
		p.refuse(w, asError(err), id)
		return
	}
	send(w, http.StatusOK, p.contentType(), body)
}

func (s *Server) nextID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", s.serial)
}

// signedFor returns the scope of a request's signature, which is the only place where
// each request says what it is for.
func signedFor(r *http.Request) (service, region string) {
	// AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, ...
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope, _, _ = strings.Cut(scope, ",")
	parts := strings.Split(scope, "/")
	if len(parts) != 5 {
		return "", ""
	}
	return parts[3], parts[2]
}

// biggest is how long a request may be: AWS's own limits are lower.
const biggest = 1 << 20

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, biggest))
	if err != nil {
		return nil, &world.Error{Code: "RequestEntityTooLarge", Message: err.Error()}
	}
	return body, nil
}

func (s *Server) answer(p protocol, r *http.Request, region, id string) ([]byte, error) {
	if region != s.region {
		return nil, &world.Error{Code: "AuthFailure", Message: "this is the region " + s.region + ", not " + region}
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	asked, err := p.find(r, body)
	if err != nil {
		return nil, err
	}
	a := asked.action
	if !s.admits(a) {
		return nil, throttled(a.Service)
	}
	if err := s.fail(Call{a.Service, a.Name, false}); err != nil {
		return nil, err
	}
	made, err := s.perform(p, asked, id)
	if err != nil {
		return nil, err
	}
	return made, s.fail(Call{a.Service, a.Name, true})
}

// perform does an action and writes the answer, while nobody else changes the world.
func (s *Server) perform(p protocol, asked request, id string) (body []byte, err error) {
	a := asked.action
	do := func(state *world.State) error {
		answer, err := a.do(state, asked.input)
		if err != nil {
			return err
		}
		body, err = p.encode(a, answer, id)
		return err
	}
	if a.Reads {
		err = s.world.Read(do)
		return body, err
	}
	token := clientToken(asked.input)
	if token == "" {
		err = s.world.Write(do)
		return body, err
	}
	err = s.world.Write(func(state *world.State) error {
		key := a.Service + "." + a.Name + "." + token
		input, err := json.Marshal(asked.input)
		if err != nil {
			return err
		}
		if before, ok := s.answered[key]; ok {
			if string(before.input) != string(input) {
				return mismatch(a.Service)
			}
			body = before.body
			return nil
		}
		if err := do(state); err != nil {
			return err
		}
		s.answered[key] = answer{input, body}
		return nil
	})
	return body, err
}

// clientToken is what makes a repeated call the same call.
func clientToken(input any) string {
	v := reflect.ValueOf(input).Elem()
	for _, name := range []string{"ClientToken", "ClientRequestToken"} {
		if f := v.FieldByName(name); f.IsValid() {
			return f.String()
		}
	}
	return ""
}

func mismatch(service string) *world.Error {
	code := "IdempotentParameterMismatch"
	if service == EKS {
		code = "InvalidParameterException"
	}
	return &world.Error{Code: code, Message: "the client token was used before with other parameters"}
}

func (s *Server) admits(a Action) bool {
	s.mu.Lock()
	l := s.limits[a.Service+"."+a.Name]
	s.mu.Unlock()
	return l == nil || l.AllowN(s.clock.Now(), 1)
}

func throttled(service string) *world.Error {
	code := map[string]string{EC2: "RequestLimitExceeded", EKS: "ThrottlingException", SSM: "ThrottlingException"}[service]
	if code == "" {
		code = "Throttling"
	}
	return &world.Error{Code: code, Message: "Rate exceeded"}
}

// errDropped is an error that nobody is told.
var errDropped = errors.New("the connection is dropped")

func (s *Server) fail(c Call) error {
	s.mu.Lock()
	f := s.fault
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	switch failure := f(c); {
	case failure == nil:
		return nil
	case failure.Error != nil:
		return failure.Error
	default:
		return errDropped
	}
}
