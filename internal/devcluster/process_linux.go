package devcluster

import "syscall"

// attributes put the child into a group of its own, so that a Ctrl-C in the
// terminal reaches only us, and let it be killed when we are.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
