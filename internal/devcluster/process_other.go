//go:build !linux

package devcluster

import "syscall"

// attributes put the child into a group of its own, so that a Ctrl-C in the
// terminal reaches only us. There is no signal on a parent's death here; what a
// killed parent leaves behind is ended by the next start on the same folder.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
