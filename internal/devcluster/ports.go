package devcluster

import (
	"context"
	"errors"
	"net"
)

// freePorts returns ports on 127.0.0.1 that are free now. All are held open
// until the last is known, so that no two are the same. Somebody else may take
// one before it is used; starting is tried again with others then.
func freePorts(ctx context.Context, n int) ([]int, error) {
	var ports []int
	var listeners []net.Listener
	var problem error
	for range n {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			problem = err
			break
		}
		listeners = append(listeners, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	for _, l := range listeners {
		problem = errors.Join(problem, l.Close())
	}
	return ports, problem
}
