package devcluster

import (
	"context"
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

// CleanUp ends what a cluster left behind that was killed. It does nothing in a folder
// without one, and fails if one runs there.
func CleanUp(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l, err := acquire(dir)
	if err != nil {
		return err
	}
	return errors.Join(endLeftBehind(ctx, dir), l.release())
}

// endStrays ends programs of pods that nobody ends any more: those that left the process
// group of their container, or whose container was killed together with the cluster. Their
// environment says whose they are. Systems without /proc are not looked through.
func endStrays(ctx context.Context, dir string) error {
	mark := "CONTAINER_ROOT=" + filepath.Join(dir, "agent") + string(filepath.Separator)
	// One may start another one while it is looked for.
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, stopPatience, true, func(context.Context) (bool, error) {
		strays, err := withEnvironment(mark)
		for _, pid := range strays {
			if failed := syscall.Kill(pid, syscall.SIGKILL); failed != nil && !errors.Is(failed, syscall.ESRCH) {
				err = errors.Join(err, fmt.Errorf("end process %d of a pod: %w", pid, failed))
			}
		}
		return len(strays) == 0, err
	})
	if err != nil {
		return fmt.Errorf("end the programs that are left: %w", err)
	}
	return nil
}

// withEnvironment returns the processes that have a variable which begins so.
func withEnvironment(begin string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var found []int
	for _, entry := range entries {
		pid, notOne := strconv.Atoi(entry.Name())
		environment, gone := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ")) // Or another user's.
		if notOne != nil || gone != nil {
			continue
		}
		for variable := range strings.SplitSeq(string(environment), "\x00") {
			if strings.HasPrefix(variable, begin) {
				found = append(found, pid)
				break
			}
		}
	}
	return found, err
}
