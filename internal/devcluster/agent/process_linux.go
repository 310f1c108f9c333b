package agent

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func dyingWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// ownMounts has a program start in a mount namespace of its own, as the same user, with
// the right to mount in it.
func ownMounts(attributes *syscall.SysProcAttr) error {
	attributes.Cloneflags |= syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
	attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	attributes.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	return nil
}
