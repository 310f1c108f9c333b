package gateway

import (
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// pool has the addresses 127.100.OCTET.1 to 254, one for each Gateway. The octet is the
// cluster's, which no other has; 100 is no cluster's, so that none is a pod's.
type pool struct {
	octet int
	taken map[netip.Addr]types.UID
}

func (p *pool) at(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 100, byte(p.octet), byte(n)})
}

// claim takes an address for a Gateway; false means that it is no one of ours or another
// Gateway's.
func (p *pool) claim(a netip.Addr, by types.UID) bool {
	if !a.Is4() {
		return false
	}
	b := a.As4()
	if b[0] != 127 || b[1] != 100 || int(b[2]) != p.octet || b[3] == 0 || b[3] == 255 {
		return false
	}
	if owner, ok := p.taken[a]; ok && owner != by {
		return false
	}
	p.taken[a] = by
	return true
}

func (p *pool) free(by types.UID) (netip.Addr, bool) {
	for n := 1; n < 255; n++ {
		if a := p.at(n); p.taken[a] == "" && p.claim(a, by) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// addressed is what a Gateway gets: whether its wishes are understood, whether they can be
// had, and what it has.
type addressed struct {
	supported, usable verdict
	list              []netip.Addr
}

// assign gives each Gateway its addresses. One keeps what it holds, or what its status says
// that it had before a restart; then those that ask for certain addresses get them.
func assign(gateways []*gatewayv1.Gateway, octet int, held map[types.UID][]netip.Addr) map[types.UID]addressed {
	p := &pool{octet: octet, taken: map[netip.Addr]types.UID{}}
	kept := map[types.UID][]netip.Addr{}
	for _, g := range gateways {
		before := held[g.UID]
		if before == nil {
			for _, a := range g.Status.Addresses {
				if parsed, err := netip.ParseAddr(a.Value); err == nil {
					before = append(before, parsed)
				}
			}
		}
		for _, a := range before {
			if asked := wishes(g); (len(asked) == 0 || slices.Contains(asked, a.String())) && p.claim(a, g.UID) {
				kept[g.UID] = append(kept[g.UID], a)
			}
		}
	}
	all := map[types.UID]addressed{}
	for _, g := range gateways {
		if len(wishes(g)) > 0 {
			all[g.UID] = p.asked(g)
		}
	}
	for _, g := range gateways {
		if _, done := all[g.UID]; !done {
			all[g.UID] = p.given(g, kept[g.UID])
		}
	}
	return all
}

// wishes are the addresses that a Gateway asks for; one without a value is any.
func wishes(g *gatewayv1.Gateway) (values []string) {
	for _, a := range g.Spec.Addresses {
		if a.Value != "" {
			values = append(values, a.Value)
		}
	}
	return values
}

// understood says whether the Gateway's addresses are of a kind that there is.
func understood(g *gatewayv1.Gateway) verdict {
	for _, a := range g.Spec.Addresses {
		if a.Type != nil && *a.Type != gatewayv1.IPAddressType {
			return no(gatewayv1.GatewayReasonUnsupportedAddress, "Addresses of the type %s are not supported: only IPAddress is.", *a.Type)
		}
	}
	return yes(gatewayv1.GatewayReasonAccepted, "The Gateway is served.")
}

func (p *pool) asked(g *gatewayv1.Gateway) addressed {
	made := addressed{supported: understood(g), usable: yes(gatewayv1.GatewayReasonProgrammed, "The Gateway is served.")}
	var refused []string
	for _, value := range wishes(g) {
		if a, err := netip.ParseAddr(value); err == nil && p.claim(a, g.UID) {
			made.list = append(made.list, a)
		} else {
			refused = append(refused, value)
		}
	}
	if len(refused) > 0 {
		made.usable = no(gatewayv1.GatewayReasonAddressNotUsable, "Not to be had: %s. Free ones of %s to %s are.", strings.Join(refused, ", "), p.at(1), p.at(254))
	}
	return made
}

func (p *pool) given(g *gatewayv1.Gateway, kept []netip.Addr) addressed {
	made := addressed{supported: understood(g), usable: yes(gatewayv1.GatewayReasonProgrammed, "The Gateway is served.")}
	if len(kept) > 0 {
		made.list = kept[:1]
	} else if a, ok := p.free(g.UID); ok {
		made.list = []netip.Addr{a}
	} else {
		made.usable = no(gatewayv1.GatewayReasonNoResources, "All addresses from %s to %s are taken.", p.at(1), p.at(254))
	}
	return made
}
