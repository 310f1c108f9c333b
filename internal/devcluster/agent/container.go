package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	criruntime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"windlass.dev/internal/devcluster/pause"
)

// Reasons as the kubelet writes them.
const (
	reasonCreating    = "ContainerCreating"
	reasonInit        = "PodInitializing"
	reasonPull        = "ErrImagePull"
	reasonPullBackOff = "ImagePullBackOff"
	reasonConfig      = "CreateContainerConfigError"
	reasonStart       = "StartError"
	reasonCrashLoop   = "CrashLoopBackOff"
	reasonCompleted   = "Completed"
	reasonError       = "Error"
	// exitNotStarted is what a container runtime gives for a program that it cannot
	// start.
	exitNotStarted = 128
)

// container is one container of a pod on a process node.
type container struct {
	pod  *pod
	spec *corev1.Container
	// once says that it has to succeed before the pod goes on, and sidecar that it
	// runs beside the others from then on.
	once, sidecar bool

	image Image

	mu     sync.Mutex
	status corev1.ContainerStatus
	// process is the one that runs; nil for none.
	process *process
	// environ is its environment, output what it prints, and stdin what it reads; nil
	// for none.
	environ []string
	output  *output
	stdin   *os.File
	// lastLog and previousLog are the files of the last run and of the one before.
	lastLog, previousLog string
	// ended says that it will not run again; failed that it ended badly.
	ended, failed bool
}

func newContainer(p *pod, spec *corev1.Container, isInit bool) *container {
	c := &container{pod: p, spec: spec}
	c.sidecar = isInit && spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
	c.once = isInit && !c.sidecar
	waiting := reasonCreating
	if len(p.object().Spec.InitContainers) > 0 {
		waiting = reasonInit
	}
	c.status = corev1.ContainerStatus{
		Name: spec.Name, Image: spec.Image, Started: new(false),
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waiting}},
	}
	for _, was := range slices.Concat(p.object().Status.InitContainerStatuses, p.object().Status.ContainerStatuses) {
		if was.Name == spec.Name {
			c.resume(was)
		}
	}
	return c
}

// update changes the status and has it reported.
func (c *container) update(change func(*corev1.ContainerStatus)) {
	c.mu.Lock()
	change(&c.status)
	c.mu.Unlock()
	c.pod.changed()
}

func (c *container) wait(reason, message string) {
	c.update(func(s *corev1.ContainerStatus) {
		if s.State.Terminated != nil {
			s.LastTerminationState = corev1.ContainerState{Terminated: s.State.Terminated}
		}
		s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
		s.Ready, s.Started = false, new(false)
	})
}

// root is the folder that stands in for the container's file system.
func (c *container) root() string { return filepath.Join(c.pod.dir, c.spec.Name, "root") }

func (c *container) env(ctx context.Context) ([]string, error) {
	image := c.image.env(c.pod.listenIP)
	links, err := c.pod.serviceLinks()
	if err != nil {
		return nil, err
	}
	maps.Copy(image, links)
	for name, value := range map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": c.root(), "HOSTNAME": c.pod.object().Name,
		"POD_IP": c.pod.ip, "LISTEN_IP": c.pod.listenIP, "CONTAINER_ROOT": c.root(), "CONTAINER_IMAGE": c.spec.Image,
	} {
		if _, set := image[name]; !set {
			image[name] = value
		}
	}
	return c.pod.environment(ctx, c.spec, image)
}

// run runs the container until it has ended for good or ctx is done, which is when
// the pod has to stop. started is called when the pod may go on to the next one.
func (c *container) run(ctx context.Context, started func()) {
	if c.retired() {
		return
	}
	b := backOff{first: c.pod.agent.options.BackOff}
	for ctx.Err() == nil && !c.retired() {
		if !c.pull(ctx, &b) {
			continue
		}
		ran, code, err := c.runOnce(ctx, started)
		if errors.Is(err, errNotCreated) {
			pause.For(ctx, createRetry)
			continue
		}
		if ctx.Err() != nil || c.retired() {
			return
		}
		if c.over(code) {
			c.mu.Lock()
			c.ended, c.failed = true, code != 0
			c.mu.Unlock()
			c.pod.changed()
			return
		}
		b.ranFor(ran)
		c.again(ctx, &b)
	}
}

// retired says that a sidecar was ended because nothing needs it any more.
func (c *container) retired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// over says whether a container that ended is not started again.
func (c *container) over(code int32) bool {
	policy := c.pod.object().Spec.RestartPolicy
	switch {
	case c.sidecar:
		return false
	case c.once && code == 0:
		return true
	case policy == corev1.RestartPolicyNever:
		return true
	case policy == corev1.RestartPolicyOnFailure || c.once:
		return code == 0
	default:
		return false
	}
}

// again waits as long as the back-off says, if it says so.
func (c *container) again(ctx context.Context, b *backOff) {
	if delay := b.next(); delay > 0 {
		c.wait(reasonCrashLoop, fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", delay, c.spec.Name, c.pod.object().Name, c.pod.namespace(), c.pod.object().UID))
		c.warn(eventBackOff, "Back-off restarting failed container %s in pod %s_%s(%s)", c.spec.Name, c.pod.object().Name, c.pod.namespace(), c.pod.object().UID)
		pause.For(ctx, delay)
	}
	c.update(func(s *corev1.ContainerStatus) { s.RestartCount++ })
}

// pull finds what stands in for the image; without it, it waits and reports false.
func (c *container) pull(ctx context.Context, b *backOff) bool {
	image, known := c.pod.agent.options.Images.Find(c.spec.Image)
	if known {
		c.image = image
		c.have(ctx, image)
		c.update(func(s *corev1.ContainerStatus) { s.ImageID = digest(c.spec.Image) })
		return ctx.Err() == nil
	}
	message := fmt.Sprintf("failed to pull and unpack image %q: it is not in the image folder", c.spec.Image)
	c.say(eventPulling, "Pulling image %q", c.spec.Image)
	c.wait(reasonPull, message)
	c.warnNotPulled(message)
	if !b.begun {
		b.next()
	}
	delay := max(b.next(), time.Millisecond)
	c.wait(reasonPullBackOff, fmt.Sprintf("Back-off pulling image %q: %s", c.spec.Image, message))
	pause.For(ctx, delay)
	return false
}

// have takes the time of an image that the node does not have yet. What is to be never
// pulled counts as brought there, by who wrote the image's entry.
func (c *container) have(ctx context.Context, image Image) {
	present := c.pod.agent.hasImage(c.pod.node.Name, c.spec.Image)
	if c.spec.ImagePullPolicy != corev1.PullAlways && (present || c.spec.ImagePullPolicy == corev1.PullNever) {
		c.say(eventPulled, "Container image %q already present on machine and can be accessed by the pod", c.spec.Image)
		return
	}
	c.say(eventPulling, "Pulling image %q", c.spec.Image)
	began := time.Now()
	if !present {
		pause.For(ctx, image.PullTime.Duration)
	}
	if ctx.Err() == nil {
		c.sayPulled(time.Since(began))
	}
}

// runOnce runs the program once, with its hooks and probes, and returns how long it ran
// and its exit code.
func (c *container) runOnce(ctx context.Context, started func()) (ran time.Duration, code int32, err error) {
	p, err := c.start(ctx)
	if err != nil {
		return 0, exitNotStarted, err
	}
	// What was stopped while it started has no process yet that could be: end it here.
	if ctx.Err() != nil || c.retired() {
		p.kill()
	}
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	// Readiness is probed until the program ends.
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	c.say(eventStarted, "Container started")
	if h := c.spec.Lifecycle; h != nil && h.PostStart != nil {
		if err := c.hook(life, h.PostStart); err != nil {
			c.warn(eventPostStart, "PostStartHook failed")
			c.pod.agent.log("postStart of %s in pod %s: %v", c.spec.Name, c.pod, err)
			c.stop(life, p, c.pod.grace())
		}
	}
	var probing sync.WaitGroup
	probing.Go(func() { c.probe(life, alive, p, started) })
	select {
	case <-p.done:
	case <-ctx.Done():
		// The pod is stopping, and stops its containers in its own order.
		<-p.done
	}
	cancel()
	end()
	probing.Wait()
	code = p.exit()
	c.output.end(context.WithoutCancel(ctx)) // A pod that stops still has its last words.
	c.finished(ctx, p, code)
	return p.ended.Sub(p.started), code, nil
}

// errNotCreated says that what the container needs is missing. The kubelet tries that
// again for ever, whatever the restart policy.
var errNotCreated = errors.New("the container cannot be created")

// createRetry is how soon.
const createRetry = time.Second

// start starts the program. What it lacks is said in the status.
func (c *container) start(ctx context.Context) (*process, error) {
	env, err := c.env(ctx)
	if err != nil {
		c.wait(reasonConfig, err.Error())
		c.warn(eventFailed, "Error: %v", err)
		return nil, fmt.Errorf("%w: %w", errNotCreated, err)
	}
	known := map[string]string{}
	for _, line := range env {
		name, value, _ := strings.Cut(line, "=")
		known[name] = value
	}
	argv, err := c.image.command(expandAll(c.spec.Command, known), expandAll(c.spec.Args, known))
	if err == nil {
		err = c.mount(known)
	}
	var p *process
	if err == nil {
		p, err = c.spawn(argv, env)
	}
	if err != nil {
		c.notStarted(err)
		return nil, err
	}
	c.say(eventCreated, "Container created")
	c.update(func(s *corev1.ContainerStatus) {
		if s.State.Terminated != nil {
			s.LastTerminationState = corev1.ContainerState{Terminated: s.State.Terminated}
		}
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(p.started)}}
		s.ContainerID = fmt.Sprintf("process://%d", p.cmd.Process.Pid)
	})
	return p, nil
}

// launch is how a program is started in the container's place.
func (c *container) launch(argv, env []string, dir string) (launch, error) {
	l := launch{argv: argv, env: env, dir: dir}
	if !c.image.Names {
		return l, nil
	}
	hosts, err := c.pod.agent.options.Hosts(c.pod.namespace())
	if err != nil {
		return l, err
	}
	self, err := os.Executable()
	l.argv, l.mounts = append([]string{self, "dev", "stand-in", "with-hosts", hosts}, argv...), true
	return l, err
}

// spawn starts the program, with its output going to a log.
func (c *container) spawn(argv, env []string) (*process, error) {
	c.mu.Lock()
	path := c.logFile()
	c.mu.Unlock()
	o, err := newOutput(path)
	if err != nil {
		return nil, err
	}
	l, err := c.launch(argv, env, c.workDir())
	if err != nil {
		o.file.Close()
		return nil, err
	}
	var stdin *os.File
	if l.out, err = o.pipe(criruntime.Stdout); err == nil {
		defer l.out.Close()
		l.errOut, err = o.pipe(criruntime.Stderr)
	}
	if err == nil {
		defer l.errOut.Close()
		if c.spec.Stdin {
			l.in, stdin, err = os.Pipe()
		}
	}
	var p *process
	if err == nil {
		defer l.in.Close() // Of none, it is an error that nobody needs.
		p, err = c.pod.agent.spawner.start(l)
	}
	if err != nil {
		o.file.Close()
		stdin.Close()
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.process, c.environ, c.output, c.stdin = p, env, o, stdin
	if c.previousLog != "" {
		_ = os.Remove(c.previousLog) // The kubelet keeps two.
	}
	c.previousLog, c.lastLog = c.lastLog, path
	return p, nil
}

func expandAll(texts []string, known map[string]string) []string {
	var all []string
	for _, text := range texts {
		all = append(all, expand(text, known))
	}
	return all
}

func (c *container) workDir() string {
	if c.spec.WorkingDir != "" {
		if dir := filepath.Join(c.root(), c.spec.WorkingDir); os.MkdirAll(dir, 0o700) == nil {
			return dir
		}
	}
	return c.root()
}

func (c *container) notStarted(err error) {
	c.warn(eventFailed, "Error: %v", err)
	now := metav1.Now()
	c.update(func(s *corev1.ContainerStatus) {
		s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: exitNotStarted, Reason: reasonStart, Message: err.Error(), StartedAt: now, FinishedAt: now,
		}}
		s.Ready, s.Started = false, new(false)
	})
}

// finished takes down how the program ended.
func (c *container) finished(ctx context.Context, p *process, code int32) {
	reason := reasonCompleted
	if code != 0 {
		reason = reasonError
	}
	message := c.terminationMessage(context.WithoutCancel(ctx), code)
	c.mu.Lock()
	c.process = nil
	c.stdin.Close()
	c.mu.Unlock()
	c.update(func(s *corev1.ContainerStatus) {
		s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, Reason: reason, Message: message,
			StartedAt: metav1.NewTime(p.started), FinishedAt: metav1.NewTime(p.ended), ContainerID: s.ContainerID,
		}}
		s.Ready, s.Started = false, new(false)
	})
}

// probe decides when the container has started, is ready, and has to be killed.
// Readiness is probed until alive ends, which is when the program does.
func (c *container) probe(ctx, alive context.Context, p *process, started func()) {
	if startup := c.spec.StartupProbe; startup != nil {
		passed := false
		c.watch(ctx, "Startup", startup, func(ok bool) bool {
			if passed = ok; !ok {
				c.unhealthy(ctx, p, "Startup", startup)
			}
			return false
		})
		if !passed {
			return
		}
	}
	c.update(func(s *corev1.ContainerStatus) { s.Started, s.Ready = new(true), c.spec.ReadinessProbe == nil })
	started()
	var both sync.WaitGroup
	if readiness := c.spec.ReadinessProbe; readiness != nil {
		both.Go(func() {
			c.watch(alive, "Readiness", readiness, func(ok bool) bool {
				c.update(func(s *corev1.ContainerStatus) { s.Ready = ok })
				return true
			})
		})
	}
	if liveness := c.spec.LivenessProbe; liveness != nil {
		both.Go(func() {
			c.watch(ctx, "Liveness", liveness, func(ok bool) bool {
				if !ok {
					c.unhealthy(ctx, p, "Liveness", liveness)
				}
				return ok
			})
		})
	}
	both.Wait()
}

// unhealthy kills what does not pass; it is started again as its policy says.
func (c *container) unhealthy(ctx context.Context, p *process, kind string, probe *corev1.Probe) {
	c.sayKilled(kind)
	grace := c.pod.grace()
	if probe.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*probe.TerminationGracePeriodSeconds) * time.Second
	}
	c.stop(ctx, p, grace)
}

// stop ends a program as the kubelet does: preStop, SIGTERM, and SIGKILL when the
// grace period, of which preStop is a part, is over. That ctx has ended, as it has when
// a pod stops, changes nothing.
// See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-flow.
func (c *container) stop(ctx context.Context, p *process, grace time.Duration) {
	if grace == 0 {
		p.kill()
		<-p.done
		return
	}
	deadline := time.Now().Add(grace)
	c.prepare(ctx, p, deadline)
	p.terminate()
	// The kubelet gives at least two seconds after preStop.
	left := time.NewTimer(max(time.Until(deadline), min(grace, 2*time.Second)))
	defer left.Stop()
	power := c.pod.power
	for {
		select {
		case <-p.done:
			return
		case <-power:
			if life := c.pod.agent.life; c.pod.node.is() == Stopped && life.Err() == nil {
				power = life.Done() // It is shut down, and the grace period holds.
				continue
			}
		case <-c.pod.hurry:
		case <-left.C:
		}
		p.kill()
		<-p.done
		return
	}
}

// prepare runs the preStop hook, as long as there is time and something to prepare.
func (c *container) prepare(ctx context.Context, p *process, deadline time.Time) {
	// A machine that is shut down knows of no hooks.
	h := c.spec.Lifecycle
	if h == nil || h.PreStop == nil || c.pod.node.is() == Stopped {
		return
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
		case <-p.done: // A program that is gone needs no preparation for its end.
		case <-c.pod.hurry:
		case <-c.pod.power: // Nor has a machine without power any time for it.
		}
		cancel()
	}()
	if err := c.hook(ctx, h.PreStop); err != nil && ctx.Err() == nil {
		c.warn(eventPreStop, "PreStopHook failed")
		c.pod.agent.log("preStop of %s in pod %s: %v", c.spec.Name, c.pod, err)
	}
}

// stopNow stops what runs, if anything does.
func (c *container) stopNow(ctx context.Context, grace time.Duration) {
	c.mu.Lock()
	p := c.process
	c.mu.Unlock()
	if p != nil {
		c.say(eventKilling, "Stopping container %s", c.spec.Name)
		c.stop(ctx, p, grace)
	}
}

func (c *container) hook(ctx context.Context, h *corev1.LifecycleHandler) error {
	switch {
	case h.Sleep != nil:
		pause.For(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
		return nil
	case h.Exec != nil:
		return c.exec(ctx, h.Exec.Command)
	case h.HTTPGet != nil:
		return c.httpGet(ctx, h.HTTPGet)
	default:
		return errors.New("hooks of this kind are not supported on process nodes")
	}
}

// backOff is the kubelet's: the first restart is immediate, then 10 s, doubled up to
// five minutes, and forgotten by a container that ran for ten minutes.
// See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy.
type backOff struct {
	first, delay time.Duration
	begun        bool
}

const (
	maxBackOff   = 5 * time.Minute
	forgiveAfter = 10 * time.Minute
)

func (b *backOff) next() time.Duration {
	if !b.begun {
		b.begun = true
		return 0
	}
	b.delay = min(max(b.delay*2, b.first), maxBackOff)
	return b.delay
}

func (b *backOff) ranFor(d time.Duration) {
	if d >= forgiveAfter {
		*b = backOff{first: b.first}
	}
}
