package devcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// ErrRunning is returned when a cluster already runs in the folder.
var ErrRunning = errors.New("a cluster already runs there")

// lock is held as long as a cluster runs in a folder. The system gives it up
// when its holder dies, however that happens.
type lock struct{ file *os.File }

func acquire(dir string) (*lock, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s; stop it with: windlass dev down --dir %s", ErrRunning, dir, dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := errors.Join(file.Truncate(0), second(file.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0))); err != nil {
		_ = file.Close()
		return nil, err
	}
	// Left behind by a kill.
	if err := os.Remove(filepath.Join(dir, "ready")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, file.Close())
	}
	return &lock{file}, nil
}

func second(_ int, err error) error { return err }

func (l *lock) release() error { return l.file.Close() }

// Holder returns the process that runs a cluster in the folder; ok is false
// when none does.
func Holder(dir string) (pid int, ok bool, err error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer file.Close()
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return 0, false, nil // Nobody holds it; closing gives it up again.
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return 0, false, err
	}
	content, err := os.ReadFile(file.Name())
	if err != nil {
		return 0, false, err
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(content)))
	return pid, err == nil, err
}

// Ready reports whether the cluster in the folder has finished its start.
func Ready(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, "ready"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// child names a process so that a later one with its number is not taken for it.
type child struct {
	PID int `json:"pid"`
	// Born is the time of its start, in the system's own unit; empty where the
	// system does not tell.
	Born string `json:"born"`
}

// record notes the children, so that the next start can end them if they were
// left behind.
func record(dir string, processes []*process) error {
	var children []child
	for _, p := range processes {
		children = append(children, child{PID: p.cmd.Process.Pid, Born: born(p.cmd.Process.Pid)})
	}
	content, err := json.Marshal(children)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "children.json"), content, 0o600)
}

// endLeftBehind ends the children of a cluster whose holder was killed.
func endLeftBehind(ctx context.Context, dir string) error {
	if err := endStrays(ctx, dir); err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(dir, "children.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var children []child
	if json.Unmarshal(content, &children) != nil {
		children = nil // Half written at the moment of the kill: there is nothing to go by.
	}
	for _, c := range children {
		if c.Born == "" || born(c.PID) != c.Born {
			continue
		}
		if err := syscall.Kill(c.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end process %d, which an earlier cluster left behind: %w", c.PID, err)
		}
		err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, stopPatience, true, func(context.Context) (bool, error) {
			return born(c.PID) != c.Born, nil
		})
		if err != nil {
			return fmt.Errorf("wait for the end of process %d: %w", c.PID, err)
		}
	}
	return os.Remove(filepath.Join(dir, "children.json"))
}

// born returns when a living process was started, from /proc; empty when it does
// not live, is only waiting to be reaped, or the system has no /proc.
func born(pid int) string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field is the program's name in parentheses and may hold spaces.
	_, rest, ok := strings.Cut(string(content), ") ")
	fields := strings.Fields(rest)
	const state, start = 0, 19 // The third and the twenty-second field.
	if !ok || len(fields) <= start || fields[state] == "Z" {
		return ""
	}
	return fields[start]
}
