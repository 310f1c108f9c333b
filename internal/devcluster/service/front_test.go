package service

import (
	"net"
	"net/netip"
	"sync"
	"testing"
)

// TestFirstConnection comes while a Service begins to be served: it has its endpoints then.
func TestFirstConnection(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort("127.99.250.1:18080")
	stop := make(chan struct{})
	var dialers sync.WaitGroup
	for range 4 {
		dialers.Go(func() {
			var dialer net.Dialer
			for {
				select {
				case <-stop:
					return
				default:
				}
				if c, err := dialer.DialContext(t.Context(), "tcp", at.String()); err == nil {
					_ = c.Close() // The other end closes it as well.
				}
			}
		})
	}
	p := &Proxy{fronts: map[netip.AddrPort]*front{}}
	served := map[netip.AddrPort]route{at: {name: "x", endpoints: []netip.AddrPort{netip.MustParseAddrPort("127.99.250.2:1")}}}
	for range 2000 {
		p.serve(t.Context(), served)
		p.serve(t.Context(), nil)
	}
	close(stop)
	dialers.Wait()
	p.running.Wait()
}
