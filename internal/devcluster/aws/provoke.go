package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/internal/devcluster/aws/world"
)

// provocations is where a running fake is told what to do to its callers. No service of AWS
// has such a path.
const provocations = "/_fake/"

// Provocation is something that AWS does to its customers.
type Provocation interface {
	// Name is its path.
	Name() string
	provoke(s *Server) error
}

// Capacity is how many more instances a pool can have; nil for any number.
type Capacity struct {
	Zone         string `json:"zone"`
	InstanceType string `json:"instanceType"`
	Spot         bool   `json:"spot,omitempty"`
	Room         *int   `json:"room,omitempty"`
}

// Interruption takes a spot instance away: the notice comes after the lead, and the end two
// minutes later, all in the fake's time.
type Interruption struct {
	Instance string          `json:"instance"`
	Lead     metav1.Duration `json:"lead"`
}

// Crash ends an instance as if its hardware failed.
type Crash struct {
	Instance string `json:"instance"`
}

// Throttling limits an action, such as ec2.DescribeInstances; a nil limit lifts it. It
// counts in the fake's time.
type Throttling struct {
	Action string `json:"action"`
	Limit  *Limit `json:"limit,omitempty"`
}

// Lag has reads be so far behind writes, in the fake's time.
type Lag struct {
	Behind metav1.Duration `json:"behind"`
}

func (Capacity) Name() string     { return "capacity" }
func (Interruption) Name() string { return "interruption" }
func (Crash) Name() string        { return "crash" }
func (Throttling) Name() string   { return "throttling" }
func (Lag) Name() string          { return "lag" }

func (p Capacity) provoke(s *Server) error {
	if p.InstanceType == "" || p.Room != nil && *p.Room < 0 {
		return errors.New("want an instance type, and room for 0 instances or more")
	}
	return s.world.Write(func(state *world.State) error {
		zones := slices.Clone(state.Config.Zones)
		for i := range zones {
			zones[i] = state.Config.Region + zones[i]
		}
		if !slices.Contains(zones, p.Zone) {
			return fmt.Errorf("there is no zone %q: want one of %s", p.Zone, strings.Join(zones, ", "))
		}
		pool := world.Pool{Zone: p.Zone, InstanceType: p.InstanceType, Spot: p.Spot}
		delete(state.Room, pool)
		if p.Room != nil {
			state.Room[pool] = *p.Room
		}
		return nil
	})
}

func (p Interruption) provoke(s *Server) error {
	if p.Lead.Duration < 0 {
		return fmt.Errorf("the lead is %s: want none or more", p.Lead.Duration)
	}
	return s.world.Write(func(state *world.State) error { return state.Interrupt(p.Instance, p.Lead.Duration) })
}

func (p Crash) provoke(s *Server) error {
	return s.world.Write(func(state *world.State) error {
		if i, ok := state.Instances[p.Instance]; ok && i.State != world.Pending && i.State != world.Running {
			return fmt.Errorf("instance %s has ended already", p.Instance)
		}
		return state.Crash(p.Instance)
	})
}

func (p Throttling) provoke(s *Server) error {
	if !slices.ContainsFunc(Actions(), func(a Action) bool { return a.Service+"."+a.Name == p.Action }) {
		return fmt.Errorf("there is no action %q: want one such as %s.DescribeInstances", p.Action, EC2)
	}
	if l := p.Limit; l != nil && (l.PerSecond < 0 || l.Burst < 0) {
		return fmt.Errorf("the limit is %v per second and %d at once: want 0 or more", l.PerSecond, l.Burst)
	}
	s.Throttle(p.Action, p.Limit)
	return nil
}

func (p Lag) provoke(s *Server) error {
	if p.Behind.Duration < 0 {
		return fmt.Errorf("the lag is %s: want none or more", p.Behind.Duration)
	}
	s.world.Lag(p.Behind.Duration)
	return nil
}

// provoked parses each kind of provocation.
var provoked = map[string]func(*json.Decoder) (Provocation, error){
	Capacity{}.Name():     parse[Capacity],
	Interruption{}.Name(): parse[Interruption],
	Crash{}.Name():        parse[Crash],
	Throttling{}.Name():   parse[Throttling],
	Lag{}.Name():          parse[Lag],
}

func parse[P Provocation](from *json.Decoder) (Provocation, error) {
	var p P
	err := from.Decode(&p)
	return p, err
}

// serveProvocation does what is asked. JSON has to be said to be that: pages of other
// origins that a browser shows can send anything else to this machine.
func (s *Server) serveProvocation(w http.ResponseWriter, r *http.Request) {
	parsed, known := provoked[strings.TrimPrefix(r.URL.Path, provocations)]
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case !known:
		http.Error(w, "there is nothing at "+r.URL.Path, http.StatusNotFound)
		return
	case r.Method != http.MethodPost:
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
		return
	case kind != "application/json":
		http.Error(w, "want application/json", http.StatusUnsupportedMediaType)
		return
	}
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, biggest))
	body.DisallowUnknownFields()
	p, err := parsed(body)
	if err == nil {
		err = p.provoke(s)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// provokePatience is how long an answer of a fake on this machine is awaited.
const provokePatience = 10 * time.Second

// Provoke tells the fake at an endpoint what to do.
func Provoke(ctx context.Context, endpoint string, p Provocation) error {
	ctx, cancel := context.WithTimeout(ctx, provokePatience)
	defer cancel()
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+provocations+p.Name(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the fake AWS: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNoContent {
		return nil
	}
	said, err := io.ReadAll(io.LimitReader(response.Body, biggest))
	if err != nil {
		return fmt.Errorf("ask the fake AWS: %w", err)
	}
	return errors.New(strings.TrimSpace(string(said)))
}
