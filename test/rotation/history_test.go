package rotation

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/test/windlasstest"
)

// history is what became of the pods that requests are sent to. Most pods that end with no
// notice lose no request, since few are under way at any moment: so it is looked at whether
// any did, and a request that was lost is told from it.
type history struct {
	done chan struct{}

	mu    sync.Mutex
	lines []string
	pods  map[types.UID]*seenPod
}

// seenPod is a pod as it was last seen.
type seenPod struct {
	said             string
	name             string
	served           bool // It was Ready once.
	deleted, stopped time.Time
}

// watchPods keeps the history of a namespace's pods until the test is over.
func watchPods(t *testing.T, namespace string) *history {
	t.Helper()
	w, err := windlasstest.Client(t).Watch(t.Context(), &corev1.PodList{}, client.InNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	h := &history{done: make(chan struct{}), pods: map[types.UID]*seenPod{}}
	t.Cleanup(func() {
		w.Stop()
		<-h.done
		if t.Failed() {
			t.Logf("what became of the pods:\n%s", h)
		}
	})
	go func() {
		defer close(h.done)
		for event := range w.ResultChan() {
			if p, ok := event.Object.(*corev1.Pod); ok {
				h.see(time.Now(), event.Type, p)
			}
		}
	}()
	return h
}

func (h *history) see(now time.Time, event watch.EventType, p *corev1.Pod) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.pods[p.UID]
	if s == nil {
		s = &seenPod{name: p.Name}
		h.pods[p.UID] = s
	}
	ready := false
	for _, c := range p.Status.Conditions {
		ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	s.served = s.served || ready
	if p.DeletionTimestamp != nil && s.deleted.IsZero() {
		s.deleted = now
	}
	ended := len(p.Status.ContainerStatuses) > 0 && (p.Status.ContainerStatuses[0].State.Terminated != nil || p.Status.ContainerStatuses[0].RestartCount > 0)
	if s.stopped.IsZero() && (ended || event == watch.Deleted) {
		s.stopped = now
	}
	said := fmt.Sprintf("%s %s %s on %s: %s, Ready %t, deleted %t", p.Status.PodIP, event, p.Name, p.Spec.NodeName, p.Status.Phase, ready, p.DeletionTimestamp != nil)
	if s.said != said {
		s.said = said
		h.lines = append(h.lines, now.Format("15:04:05.000 ")+said)
	}
}

// abrupt are the pods that served and then stopped sooner than so long after they were told
// to end, or without having been told.
func (h *history) abrupt(notice time.Duration) (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.pods {
		switch {
		case !s.served || s.stopped.IsZero():
		case s.deleted.IsZero():
			all = append(all, fmt.Sprintf("pod %s ended, and was never told to", s.name))
		case s.stopped.Sub(s.deleted) < notice:
			all = append(all, fmt.Sprintf("pod %s ended %s after it was told to", s.name, s.stopped.Sub(s.deleted)))
		}
	}
	return all
}

func (h *history) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines, "\n")
}
