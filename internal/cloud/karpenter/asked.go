package karpenter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/objects"
)

// asked is a NodeClaim that the provider was asked for, until it is a node. It is noted on
// the NodePool before it is made, so that it is made once, whoever goes on after a crash; and
// it is made again if Karpenter gives it up, as it does at once when its cloud has no
// capacity (pkg/controllers/nodeclaim/lifecycle/launch.go), and after 5 or 15 minutes if it
// does not come up (liveness.go).
type asked struct {
	Name string `json:"name"`
	// For is the machine in whose place it comes, which is ended once it is asked for.
	For  string `json:"for,omitempty"`
	Like like   `json:"like"`
	// Seen says that it was made, and Failed how often Karpenter gave it up, the last time At.
	Seen   bool        `json:"seen,omitempty"`
	Failed int32       `json:"failed,omitempty"`
	At     metav1.Time `json:"at,omitzero"`
}

// againAfter is how long to wait before making again what Karpenter gave up. Its cloud
// remembers for minutes where there was no capacity, so that a try costs little.
const againAfter = 30 * time.Second

func (g *group) askedText() (string, error) {
	if len(g.asked) == 0 {
		return "", nil
	}
	text, err := json.Marshal(g.asked)
	return string(text), err
}

// size is how many machines the group has, and is owed. One that comes in the place of
// another counts once that one is ended.
func (g *group) size() int32 {
	n := g.lives()
	for i := range g.asked {
		a := &g.asked[i]
		if !g.claim(a.Name).live() {
			n++
		}
		if a.For != "" && g.claim(a.For).live() {
			n--
		}
	}
	return int32(n)
}

// ask notes one more NodeClaim, like those that are, in the place of another or besides.
func (g *group) ask(instead string, l like) {
	for {
		name := g.Name + "-" + rand.String(5)
		if g.claim(name) == nil && !slices.ContainsFunc(g.asked, func(a asked) bool { return a.Name == name }) {
			g.asked = append(g.asked, asked{Name: name, For: instead, Like: l})
			return
		}
	}
}

// forget drops what is noted of a NodeClaim.
func (g *group) forget(name string) {
	g.asked = slices.DeleteFunc(g.asked, func(a asked) bool { return a.Name == name })
}

// fill makes the NodeClaims that the group is owed, and says what keeps it from that.
func (p *Provider) fill(ctx context.Context, g *group) ([]cloud.Problem, error) {
	if len(g.asked) == 0 {
		return nil, nil
	}
	p.filling.Lock()
	defer p.filling.Unlock()
	f := filler{group: g, now: time.Now()}
	if err := g.looked(); err != nil {
		f.blocked = err.Error()
	}
	if p.Clock != nil {
		f.now = p.Clock.Now()
	}
	for i := range g.asked {
		if err := f.next(ctx, &g.asked[i]); err != nil {
			return nil, err
		}
	}
	g.asked = slices.DeleteFunc(g.asked, func(a asked) bool {
		c := g.claim(a.Name)
		return c.live() && c.running() && !g.claim(a.For).live()
	})
	// Whoever else looks at the group notes the same, so that a conflict is none.
	if err := g.edit(ctx, func() {}); err != nil && !errors.Is(err, cloud.ErrConflict) {
		return nil, err
	}
	if f.made {
		return f.problems(), g.readClaims(ctx)
	}
	return f.problems(), nil
}

// filler is one round over what a group is owed.
type filler struct {
	*group
	now time.Time
	// blocked is why nothing can be made now, and exceeded which limit keeps machines back.
	blocked, exceeded string
	made              bool
}

// next brings one NodeClaim further: it is made, or seen, or found to be given up.
func (f *filler) next(ctx context.Context, a *asked) error {
	c := f.claim(a.Name)
	switch {
	case c != nil:
		a.Seen = a.Seen || c.live()
		return nil
	case a.Seen:
		a.Seen, a.At = false, metav1.NewTime(f.now)
		a.Failed++
		return nil
	case f.blocked != "" || a.Failed > 0 && f.now.Before(a.At.Add(againAfter)):
		return nil
	}
	if why := f.exceeds(a.Like); why != "" {
		f.exceeded = why
		return nil
	}
	// Whoever looks at the group at the same time may have made it.
	if err := client.IgnoreAlreadyExists(f.client.Create(ctx, f.newClaim(a))); err != nil {
		return objects.Explain("make NodeClaim "+a.Name, err)
	}
	f.made, a.Seen = true, true
	f.claims = append(f.claims, claimed(a)) // It counts against the limits.
	return nil
}

func (f *filler) problems() []cloud.Problem {
	var all []cloud.Problem
	if f.blocked != "" {
		all = append(all, cloud.Problem{Reason: cloud.ReasonTemplate, Message: f.blocked, At: f.now})
	}
	if f.exceeded != "" {
		all = append(all, cloud.Problem{Reason: cloud.ReasonQuota, Message: f.exceeded, At: f.now})
	}
	return all
}

func claimed(a *asked) claim {
	c := claim{}
	c.Name = a.Name
	c.Spec.Resources.Requests = a.Like.Capacity
	return c
}

// exceeds says which limit of the NodePool does not allow one more machine. Karpenter asks
// them only for what it makes itself. The number of machines is not among them: a run raises
// that.
func (g *group) exceeds(l like) string {
	for _, name := range sortedNames(g.Spec.Limits) {
		if name == nodesLimit {
			continue
		}
		limit := g.Spec.Limits[name]
		used := l.Capacity[name].DeepCopy()
		if used.IsZero() {
			continue
		}
		more := used.DeepCopy()
		for i := range g.claims {
			c := &g.claims[i]
			has, ok := c.Status.Capacity[name]
			if !ok {
				has = c.Spec.Resources.Requests[name]
			}
			used.Add(has)
		}
		if used.Cmp(limit) > 0 {
			used.Sub(more)
			return fmt.Sprintf("limit %s of NodePool %s is %s: its machines have %s, and one more would have %s: raise the limit, or set maxSurge to 0", name, g.Name, limit.String(), used.String(), more.String())
		}
	}
	return ""
}
