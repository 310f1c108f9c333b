package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// ExecInContainer runs a command beside the container's program, with the environment
// that that has, until it ends or ctx does.
func (c *container) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	argv, env, err := c.inside(command)
	if err != nil {
		return err
	}
	c.mu.Lock()
	beside := c.process
	c.mu.Unlock()
	if beside == nil {
		return fmt.Errorf("container not found (%q): it does not run", c.spec.Name)
	}
	run := c.throughPipes
	if tty {
		run = c.throughTerminal
	}
	l, err := c.launch(argv, env, c.workDir())
	if err != nil {
		return err
	}
	p, wait, err := run(ctx, l, in, out, errOut, resize)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-beside.done: // It does not outlive its container.
		p.kill()
		<-p.done
	case <-ctx.Done():
		p.kill()
		<-p.done
	}
	wait()
	if code := p.exit(); code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command %q exited with %d", strings.Join(command, " "), code), Code: int(code)}
	}
	return nil
}

// inside returns how to run a command in the place of a container that runs.
func (c *container) inside(command []string) (argv, env []string, err error) {
	c.mu.Lock()
	env, runs := c.environ, c.process != nil
	c.mu.Unlock()
	if !runs {
		return nil, nil, fmt.Errorf("container not found (%q): it does not run", c.spec.Name)
	}
	if len(command) == 0 {
		return nil, nil, errors.New("no command specified")
	}
	argv, err = c.image.command(command, nil)
	return argv, env, err
}

// throughPipes starts a command whose input and output are streams. wait returns when
// all that it wrote is sent.
func (c *container) throughPipes(ctx context.Context, l launch, in io.Reader, out, errOut io.WriteCloser, _ <-chan remotecommand.TerminalSize) (p *process, wait func(), err error) {
	var ours []*os.File
	defer func() {
		for _, file := range ours { // The process has its own.
			file.Close()
		}
	}()
	outputs := map[*os.File]io.Writer{}
	for _, to := range []struct {
		stream io.Writer
		file   **os.File
		wanted bool
	}{{out, &l.out, out != nil}, {errOut, &l.errOut, errOut != nil}} {
		if !to.wanted {
			continue
		}
		from, into, err := os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		*to.file, ours = into, append(ours, into)
		outputs[from] = to.stream
	}
	if in != nil {
		from, into, err := os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		l.in, ours = from, append(ours, from)
		go func() { _, _ = io.Copy(into, in); into.Close() }() // It ends with the connection.
	}
	if p, err = c.pod.agent.spawner.start(l); err != nil {
		for from := range outputs {
			from.Close()
		}
		return nil, nil, err
	}
	copied := make(chan struct{})
	go func() {
		var copying sync.WaitGroup
		for from, to := range outputs {
			copying.Go(func() { p.drain(from, to) })
		}
		copying.Wait()
		close(copied)
	}()
	return p, func() {
		select {
		case <-copied:
		case <-ctx.Done():
		}
	}, nil
}

// drain copies what a program writes to a pipe until nobody has it open any more. When the
// program has ended, each read may take as long as stragglers; who receives it may take
// longer.
func (p *process) drain(from *os.File, to io.Writer) {
	defer from.Close()
	over := make(chan struct{})
	defer close(over)
	last := func() { _ = from.SetReadDeadline(time.Now().Add(stragglers)) }
	go func() {
		select {
		case <-p.done:
			last()
		case <-over:
		}
	}()
	buffer := make([]byte, 32<<10)
	for {
		if isClosed(p.done) {
			last()
		}
		n, err := from.Read(buffer)
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

// throughTerminal is throughPipes for a terminal, which can change its size.
func (c *container) throughTerminal(ctx context.Context, l launch, in io.Reader, out, _ io.WriteCloser, resize <-chan remotecommand.TerminalSize) (p *process, wait func(), err error) {
	ours, theirs, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	l.in, l.out, l.errOut, l.terminal = theirs, theirs, theirs, true
	l.env = append([]string{"TERM=xterm"}, l.env...)
	if p, err = c.pod.agent.spawner.start(l); err != nil {
		ours.Close()
		return nil, nil, err
	}
	var copying sync.WaitGroup
	copying.Go(func() {
		if out != nil {
			_, _ = io.Copy(out, ours)
		}
	})
	if in != nil {
		go func() { _, _ = io.Copy(ours, in) }()
	}
	// Setsize takes the file's descriptor, which may be another file's after a Close.
	var open sync.Mutex
	closed := false
	go func() {
		for size := range resize {
			open.Lock()
			if !closed {
				_ = pty.Setsize(ours, &pty.Winsize{Rows: size.Height, Cols: size.Width})
			}
			open.Unlock()
		}
	}()
	return p, func() {
		await(ctx, &copying)
		open.Lock()
		defer open.Unlock()
		closed = true
		ours.Close()
	}, nil
}

// stragglers bounds how long the output of a program that has ended is awaited: what
// it started and let go of may hold it open for ever.
const stragglers = time.Second

// await waits for what still copies output.
func await(ctx context.Context, copying *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		copying.Wait()
		close(done)
	}()
	left := time.NewTimer(stragglers)
	defer left.Stop()
	select {
	case <-done:
	case <-left.C:
	case <-ctx.Done():
	}
}

// AttachContainer shows what the program prints, and gives it input if its container
// has a stdin.
func (c *container) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, errOut io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	c.mu.Lock()
	p, o, stdin := c.process, c.output, c.stdin
	c.mu.Unlock()
	if p == nil {
		return fmt.Errorf("container %s does not run", c.spec.Name)
	}
	detach := o.attach(out, errOut)
	defer detach()
	if in != nil {
		if stdin == nil {
			return fmt.Errorf("container %s has no stdin", c.spec.Name)
		}
		go func() {
			_, _ = io.Copy(stdin, in)
			if c.spec.StdinOnce {
				stdin.Close()
			}
		}()
	}
	select {
	case <-p.done:
		await(ctx, &o.copying)
	case <-ctx.Done():
	}
	return nil
}

// PortForward connects a stream to a port of the pod.
func (p *pod) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(p.listenIP, strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	go func() {
		_, _ = io.Copy(connection, stream)
		if half, ok := connection.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err = io.Copy(stream, connection)
	return err
}
