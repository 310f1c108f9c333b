package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// spawner starts processes that die with this program, even if it is killed; what they
// start in turn does not. Linux ties that to the thread that starts them, so one thread
// starts all.
type spawner struct{ work chan func() }

func newSpawner() *spawner {
	s := &spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // For good: the thread has to outlive what it started.
		for do := range s.work {
			do()
		}
	}()
	return s
}

// process is one program that runs in a container's place.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	// started and ended are when; ended only counts when done is closed.
	started, ended time.Time
}

// launch is what to start. A file that is nil leads nowhere.
type launch struct {
	argv, env []string
	dir       string

	in, out, errOut *os.File
	// terminal says that in is one, and is to be the program's.
	terminal bool
	// mounts says that the program makes mounts of its own.
	mounts bool
}

// start runs a command in a process group of its own.
func (s *spawner) start(l launch) (*process, error) {
	p := &process{cmd: exec.Command(l.argv[0], l.argv[1:]...), done: make(chan struct{})} //nolint:gosec,noctx // Running what a pod asks for is the purpose; it ends by signals.
	p.cmd.Env, p.cmd.Dir = l.env, l.dir
	// A nil file in an interface would not be nil.
	if l.in != nil {
		p.cmd.Stdin = l.in
	}
	if l.out != nil {
		p.cmd.Stdout = l.out
	}
	if l.errOut != nil {
		p.cmd.Stderr = l.errOut
	}
	p.cmd.SysProcAttr = dyingWithParent()
	if l.terminal { // A session has a process group of its own, too.
		p.cmd.SysProcAttr.Setpgid, p.cmd.SysProcAttr.Setsid, p.cmd.SysProcAttr.Setctty = false, true, true
	}
	if l.mounts {
		if err := ownMounts(p.cmd.SysProcAttr); err != nil {
			return nil, err
		}
	}
	started := make(chan error)
	s.work <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil && l.mounts {
		return nil, fmt.Errorf("start in a namespace, which this system may not allow: %w", err)
	} else if err != nil {
		return nil, err
	}
	p.started = time.Now()
	go func() {
		_ = p.cmd.Wait() // What matters is in ProcessState.
		p.kill()         // Its children do not outlive it, as in a container.
		p.ended = time.Now()
		close(p.done)
	}()
	return p, nil
}

// terminate asks the program to end.
func (p *process) terminate() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// kill ends the program and all that it started.
func (p *process) kill() {
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		_ = p.cmd.Process.Kill()
	}
}

// exit is the exit code as a container runtime reports it: 128 and the signal's
// number for a program that a signal ended.
func (p *process) exit() int32 {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signaled():
		return 128 + int32(status.Signal())
	default:
		return int32(p.cmd.ProcessState.ExitCode())
	}
}
