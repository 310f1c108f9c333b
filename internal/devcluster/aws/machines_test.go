package aws_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/wait"
	clocktesting "k8s.io/utils/clock/testing"

	"windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/world"
)

// recorder notes what is done to nodes, and fails as often as it is told.
type recorder struct {
	mu       sync.Mutex
	did      []string
	failures int
	// draining has an element for each drain that began; it goes on until ctx ends.
	draining chan struct{}
	drained  chan error
	// breaks makes one fail before that.
	breaks chan error
}

func (r *recorder) note(what string, _ world.Machine) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failures > 0 {
		r.failures--
		r.did = append(r.did, what+" failed")
		return errors.New("not now")
	}
	r.did = append(r.did, what)
	return nil
}

func (r *recorder) Boot(_ context.Context, m world.Machine) error { return r.note("boot", m) }
func (r *recorder) Kill(_ context.Context, m world.Machine) error { return r.note("kill", m) }
func (r *recorder) Drain(ctx context.Context, _ world.Machine) error {
	r.draining <- struct{}{}
	select {
	case err := <-r.breaks:
		return err
	case <-ctx.Done():
	}
	r.drained <- ctx.Err()
	return ctx.Err()
}

func (r *recorder) noted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.did)
}

// machines runs one instance's life with a recorder.
func machines(t *testing.T, r *recorder) (*world.World, *clocktesting.FakeClock, string) {
	t.Helper()
	clock := clocktesting.NewFakeClock(start)
	w := world.New(world.Config{Region: region, Account: "1", Zones: []string{"a"}, Times: world.Life()}, clock)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		aws.NewMachines(w, r, io.Discard).Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-ended })
	id := ""
	if err := w.Write(func(s *world.State) error {
		if err := s.AddImage(world.Image{ImageId: "ami-1", Name: "x"}); err != nil {
			return err
		}
		out, err := s.RunInstances(&world.RunInstancesInput{ImageId: "ami-1", InstanceType: "m7i.large", MinCount: 1, MaxCount: 1})
		if err == nil {
			id = out.Instances[0].InstanceId
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return w, clock, id
}

func (r *recorder) await(t *testing.T, want ...string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		return len(r.noted()) >= len(want), nil
	})
	if diff := cmp.Diff(want, r.noted()); diff != "" || err != nil {
		t.Fatalf("%v: %s", err, diff)
	}
}

func TestMachinesTryAgain(t *testing.T) {
	t.Parallel()
	r := &recorder{failures: 2}
	w, clock, id := machines(t, r)
	clock.Step(time.Hour)
	r.await(t, "boot failed", "boot failed", "boot")
	if err := w.Write(func(s *world.State) error { return s.Crash(id) }); err != nil {
		t.Fatal(err)
	}
	r.await(t, "boot failed", "boot failed", "boot", "kill")
}

// TestMachinesDoNotBootTheDead: what could not be begun is not begun after its end.
func TestMachinesDoNotBootTheDead(t *testing.T) {
	t.Parallel()
	r := &recorder{failures: 1}
	w, clock, id := machines(t, r)
	if err := w.Write(func(s *world.State) error {
		clock.Step(time.Hour)
		s.Advance(clock.Now()) // It boots, and
		return s.Crash(id)     // ends before anybody looked.
	}); err != nil {
		t.Fatal(err)
	}
	r.await(t, "kill failed", "kill")
}

// drains runs a recorder, and a node group with one node that has booted.
func drains(t *testing.T) (*recorder, *world.World, *clocktesting.FakeClock) {
	t.Helper()
	r := &recorder{draining: make(chan struct{}, 1), drained: make(chan error, 1), breaks: make(chan error)}
	w, clock, _ := machines(t, r)
	if err := w.Write(func(s *world.State) error {
		if _, err := s.Publish("AL2023_x86_64_STANDARD", "1.34", "1"); err != nil {
			return err
		}
		if _, err := s.CreateCluster(&world.CreateClusterInput{Name: "dev", RoleArn: "r", Version: "1.34"}); err != nil {
			return err
		}
		_, err := s.CreateNodegroup(&world.CreateNodegroupInput{
			ClusterName: "dev", NodegroupName: "apps", NodeRole: "r", Subnets: []string{"subnet-" + region + "a"}, ScalingConfig: &world.ScalingConfig{MinSize: new(0), MaxSize: new(1), DesiredSize: new(1)},
		})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	clock.Step(time.Hour)
	r.await(t, "boot", "boot")
	return r, w, clock
}

// next is what a channel gives within a minute.
func next[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(time.Minute):
		t.Fatal("it does not happen")
	}
	return v
}

// TestMachineEndsItsDrain: a machine that ends while it is drained is drained no more.
func TestMachineEndsItsDrain(t *testing.T) {
	t.Parallel()
	r, w, clock := drains(t)
	if err := w.Write(func(s *world.State) error {
		_, err := s.DeleteNodegroup(&world.NodegroupInput{ClusterName: "dev", NodegroupName: "apps"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	next(t, r.draining)
	clock.Step(10 * time.Minute) // Longer than EKS waits for pods.
	if err := next(t, r.drained); !errors.Is(err, context.Canceled) {
		t.Errorf("the drain ended with %v", err)
	}
	r.await(t, "boot", "boot", "kill")
}

// TestUpdateEndsItsDrain: when an update fails, its drains end.
func TestUpdateEndsItsDrain(t *testing.T) {
	t.Parallel()
	r, w, clock := drains(t)
	if err := w.Write(func(s *world.State) error {
		_, err := s.UpdateNodegroupVersion(&world.UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	clock.Step(time.Hour) // Longer than EKS tries to evict pods.
	next(t, r.draining)
	if err := next(t, r.drained); !errors.Is(err, context.Canceled) {
		t.Errorf("the drain ended with %v", err)
	}
}

// TestMachinesDrainAgain: a drain that fails is begun again.
func TestMachinesDrainAgain(t *testing.T) {
	t.Parallel()
	r, w, _ := drains(t)
	if err := w.Write(func(s *world.State) error {
		_, err := s.DeleteNodegroup(&world.NodegroupInput{ClusterName: "dev", NodegroupName: "apps"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	next(t, r.draining)
	r.breaks <- errors.New("not now")
	next(t, r.draining)
}
