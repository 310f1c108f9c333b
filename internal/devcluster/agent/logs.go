package agent

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	criapi "k8s.io/cri-api/pkg/apis"
	criruntime "k8s.io/cri-api/pkg/apis/runtime/v1"
	crilogs "k8s.io/cri-client/pkg/logs"
)

// longestLine is after how many bytes container runtimes split a line.
const longestLine = 16 << 10

// output is what one run of a container prints: it goes to a log, in the format of
// container runtimes (time, stream, whether the line is whole), and to who is attached.
type output struct {
	copying sync.WaitGroup

	mu       sync.Mutex
	file     *os.File
	attached map[*attachment]bool
}

// attachment is one who watches, with a stream for each of the program's; nil for one
// that is not wanted.
type attachment struct {
	streams map[criruntime.LogStreamType]io.Writer
}

func newOutput(path string) (*output, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &output{file: file, attached: map[*attachment]bool{}}, err
}

// pipe returns a file for a program to write a stream to. It is the caller's to close.
func (o *output) pipe(stream criruntime.LogStreamType) (*os.File, error) {
	from, into, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.copying.Go(func() {
		defer from.Close()
		o.copyLines(stream, from)
	})
	return into, nil
}

func (o *output) copyLines(stream criruntime.LogStreamType, from io.Reader) {
	lines := bufio.NewReaderSize(io.TeeReader(from, watchers{o, stream}), longestLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			o.write(stream, line, errors.Is(err, bufio.ErrBufferFull))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return // The program and all that it started have closed it.
		}
	}
}

func (o *output) write(stream criruntime.LogStreamType, line []byte, partial bool) {
	tag := criruntime.LogTagFull
	if partial {
		tag = criruntime.LogTagPartial
	}
	if line[len(line)-1] != '\n' {
		line = append(slices.Clip(line), '\n')
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.file, "%s %s %s %s", time.Now().Format(crilogs.RFC3339NanoFixed), stream, tag, line)
}

// watchers writes to all who are attached. One that does not take it is left out.
type watchers struct {
	output *output
	stream criruntime.LogStreamType
}

func (w watchers) Write(content []byte) (int, error) {
	w.output.mu.Lock()
	all := slices.Collect(maps.Keys(w.output.attached))
	w.output.mu.Unlock()
	for _, one := range all { // One who does not read holds up the program, but not its end.
		if to := one.streams[w.stream]; to != nil {
			if _, err := to.Write(content); err != nil {
				w.output.mu.Lock()
				delete(w.output.attached, one)
				w.output.mu.Unlock()
			}
		}
	}
	return len(content), nil
}

// attach shows what is printed from now on; a stream that is nil is not wanted.
func (o *output) attach(out, errOut io.WriteCloser) (detach func()) {
	one := &attachment{streams: map[criruntime.LogStreamType]io.Writer{}}
	if out != nil {
		one.streams[criruntime.Stdout] = out
	}
	if errOut != nil {
		one.streams[criruntime.Stderr] = errOut
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.attached[one] = true
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.attached, one)
	}
}

// end waits for the last that was printed, and closes the log.
func (o *output) end(ctx context.Context) {
	await(ctx, &o.copying)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.file.Close()
}

// serveLogs answers kubectl logs.
func serveLogs(c *container, w http.ResponseWriter, r *http.Request) {
	options, previous, err := logOptions(r.URL.Query(), time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	path, err := c.logOf(previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	to := &flushing{w, http.NewResponseController(w)}
	err = crilogs.ReadLogs(r.Context(), path, "", options, runsOf{container: c, log: path}, to, to)
	if err != nil && r.Context().Err() == nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// logOptions reads what the API server makes of a PodLogOptions. The conversion back is
// in no package that can be imported.
func logOptions(query url.Values, now time.Time) (options *crilogs.LogOptions, previous bool, err error) {
	problems := []error{}
	flag := func(name string) bool {
		value, err := strconv.ParseBool(cmp.Or(query.Get(name), "false"))
		problems = append(problems, err)
		return value
	}
	number := func(name string) *int64 {
		if !query.Has(name) {
			return nil
		}
		value, err := strconv.ParseInt(query.Get(name), 10, 64)
		problems = append(problems, err)
		return &value
	}
	previous = flag("previous")
	options = &crilogs.LogOptions{TailLines: number("tailLines"), LimitBytes: number("limitBytes"), Timestamp: flag("timestamps")}
	options.Follow = flag("follow") && !previous
	if seconds := number("sinceSeconds"); seconds != nil {
		options.Since = now.Add(-time.Duration(*seconds) * time.Second)
	}
	if query.Has("sinceTime") {
		var err error
		options.Since, err = time.Parse(time.RFC3339, query.Get("sinceTime"))
		problems = append(problems, err)
	}
	return options, previous, errors.Join(problems...)
}

// flushing sends each write at once, for who follows.
type flushing struct {
	to      io.Writer
	control *http.ResponseController
}

func (f *flushing) Write(content []byte) (int, error) {
	n, err := f.to.Write(content)
	if err != nil {
		return n, err
	}
	return n, f.control.Flush()
}

// logOf returns the log of the run that the kubelet would show: the one that runs, or
// the last that did. previous asks for the one before it.
func (c *container) logOf(previous bool) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ended := c.status.LastTerminationState.Terminated != nil
	switch waiting := c.status.State.Waiting; {
	case previous && waiting != nil && ended && c.lastLog != "":
		return c.lastLog, nil
	case previous && waiting == nil && ended && c.previousLog != "":
		return c.previousLog, nil
	case previous:
		return "", fmt.Errorf("previous terminated container %q in pod %q not found", c.spec.Name, c.pod.object().Name)
	case c.lastLog != "":
		return c.lastLog, nil
	case waiting != nil:
		return "", fmt.Errorf("container %q in pod %q is waiting to start: %s", c.spec.Name, c.pod.object().Name, waiting.Reason)
	default:
		return "", fmt.Errorf("container %q in pod %q is terminated", c.spec.Name, c.pod.object().Name)
	}
}

// runsOf tells who follows a log whether there may be more of it.
type runsOf struct {
	criapi.RuntimeService // Nothing else of it is asked for.

	container *container
	log       string
}

func (r runsOf) ContainerStatus(context.Context, string, bool) (*criruntime.ContainerStatusResponse, error) {
	r.container.mu.Lock()
	defer r.container.mu.Unlock()
	state := criruntime.ContainerState_CONTAINER_EXITED
	if r.container.process != nil && r.container.lastLog == r.log {
		state = criruntime.ContainerState_CONTAINER_RUNNING
	}
	return &criruntime.ContainerStatusResponse{Status: &criruntime.ContainerStatus{State: state}}, nil
}
