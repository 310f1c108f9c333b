package devcluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// claimOctet reserves the second octet of the addresses of a cluster's pods, so
// that clusters side by side do not share addresses. The reservation ends with
// the process. Below 100 stays clear of what other programs like to use.
func claimOctet() (octet int, release func() error, err error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("windlass-octets-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, nil, err
	}
	for octet := 101; octet < 255; octet++ {
		file, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(octet)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return 0, nil, err
		}
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return octet, file.Close, nil
		}
		_ = file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return 0, nil, err
		}
	}
	return 0, nil, errors.New("too many development clusters on this machine: all address ranges are taken")
}
