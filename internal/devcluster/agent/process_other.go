//go:build !linux

package agent

import "syscall"

func dyingWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
