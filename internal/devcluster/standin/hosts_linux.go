package standin

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// withHosts becomes another program that finds names in a file: it has been started in
// a mount namespace of its own, in which the file takes the place of /etc/hosts.
func withHosts(arguments []string, out io.Writer) int {
	if len(arguments) < 2 {
		fmt.Fprintln(out, "want a file and a program")
		return 2
	}
	err := becomeWithHosts(arguments[0], arguments[1:])
	fmt.Fprintln(out, err)
	return 128
}

func becomeWithHosts(file string, argv []string) error {
	runtime.LockOSThread()
	if err := unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s at /etc/hosts: %w", file, err)
	}
	// The right to mount is this program's only.
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("give up rights: %w", err)
	}
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("become %s: %w", program, unix.Exec(program, argv, os.Environ()))
}
