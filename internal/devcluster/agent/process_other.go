//go:build !linux

package agent

import (
	"errors"
	"syscall"
)

func dyingWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func ownMounts(*syscall.SysProcAttr) error {
	return errors.New("only Linux has mount namespaces: names are not for other systems")
}
