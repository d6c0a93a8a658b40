package config

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
)

// Explain is as that of [Cast].
func (r *AMTRelay) Explain(w io.Writer) error {
	var e explanation
	e.node("AMT relay", &r.Node)
	e.amt(&r.AMT)
	e.admin(r.Admin)
	return e.writeTo(w)
}

func (e *explanation) amt(a *AMT) {
	if len(a.Listen) > 0 {
		e.line("  is an AMT relay at UDP %s", list(a.Listen))
		if len(a.Advertise) > 0 {
			e.line("    tells gateways to ask %s", list(a.Advertise))
		}
		e.line("    takes up to %d gateways, up to %d with one address, and asks them every %s", a.MaxTunnels, a.MaxTunnelsPerAddress, a.QueryInterval)
		e.line("    gives each of them up to %d groups, %d sources of each, and %d sources together", a.MaxGroupsPerTunnel, a.MaxSourcesPerGroup, a.MaxChannelsPerTunnel)
		if a.PathMTU == 0 {
			e.line("    sends packets that fit its own link, and a path of 1500 octets")
		} else {
			e.line("    sends packets that fit a path of %d octets", a.PathMTU)
		}
		if a.Endpoint != AMTEndpointAuto {
			e.line("    tells gateways the address and port that they have: %s", a.Endpoint)
		}
		e.amtUpstream(&a.Upstream)
		if a.XDP.Egress != "" {
			e.line("    copies packets in the kernel, from %s to %s, to up to %d gateways of a channel, if the kernel can", a.XDP.Upstream, a.XDP.Egress, a.XDP.MaxCopies)
			e.warn("amt.xdp: other programs on this machine do not hear the channels that are copied in the kernel")
		}
		e.amtAllow(&a.Allow)
		if a.Key.IsZero() {
			e.line("    has a key of its own, so that no other relay can stand in for it behind an anycast address")
		}
		e.line("    waits up to %s at the end for its gateways to go elsewhere", a.Drain)
		if a.Drain < a.QueryInterval {
			e.warn("amt.drain is shorter than amt.query_interval: gateways that ask as seldom as they may are not told that the relay ends")
		}
	}
	if b := &a.Bridge; b.Interface != "" {
		e.line("  bridges %s from relays onto interface %s", list(b.Channels), b.Interface)
		e.amtRelays(&b.AMTRelays)
		if _, err := net.InterfaceByName(b.Interface); err != nil {
			e.warn("there is no interface %s on this machine now", b.Interface)
		}
	}
}

func (e *explanation) amtUpstream(u *AMTUpstream) {
	if u.DRIAD {
		e.line("    gets channels from other relays, of up to %d sources, by a tunnel for each", u.MaxSources)
	} else if u.Tunnels() {
		e.line("    gets channels from another relay")
	}
	if u.Tunnels() {
		e.amtRelays(&u.AMTRelays)
		return
	}
	where := "on the interface that leads to the source"
	if u.Interface != "" {
		where = "on interface " + u.Interface
		if _, err := net.InterfaceByName(u.Interface); err != nil {
			e.warn("there is no interface %s on this machine now", u.Interface)
		}
	}
	e.line("    joins channels %s", where)
	switch {
	case u.Sockets:
		e.line("    takes UDP packets to port %s only, and makes their IP headers anew", list(u.Ports))
	case len(u.Ports) == 0:
		e.line("    takes whole packets, of all ports; it does not start without CAP_NET_RAW")
	default:
		e.line("    takes whole packets, of all ports; without CAP_NET_RAW those to UDP port %s only, with new IP headers", list(u.Ports))
	}
}

func (e *explanation) amtAllow(a *AMTAllow) {
	for _, p := range []struct {
		what string
		list []netip.Prefix
	}{{"gateways in", a.Gateways}, {"sources in", a.Sources}, {"groups in", a.Groups}} {
		if len(p.list) > 0 {
			e.line("    only for %s %s", p.what, list(p.list))
		}
	}
	if a.Open() {
		e.warn("the AMT relay is open: anybody may have any channel that it can join")
	}
}

// list joins what has a text.
func list[T any](items []T) string {
	texts := make([]string, len(items))
	for i := range items {
		texts[i] = fmt.Sprint(items[i])
	}
	return strings.Join(texts, ", ")
}
