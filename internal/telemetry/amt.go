package telemetry

import (
	"maps"
	"slices"
)

// AMT is what an AMT relay does, and a bridge.
type AMT struct {
	// Listen are the addresses where gateways ask; none: there is no relay.
	Listen []string `json:"listen,omitempty"`
	// Upstream is where packets come from: "packets" taken off an interface, "sockets", or a "relay".
	Upstream string `json:"upstream,omitempty"`
	// UpstreamRelay is the relay in use, if it is one.
	UpstreamRelay string `json:"upstream_relay,omitempty"`
	// Draining says that no new gateways are taken.
	Draining bool `json:"draining"`
	// Tunnels and Channels exist now, of MaxTunnels.
	Tunnels    uint64 `json:"tunnels"`
	MaxTunnels uint64 `json:"max_tunnels"`
	Channels   uint64 `json:"channels"`
	// Unjoined are those of the channels that cannot be joined upstream; JoinErrors counts the attempts that failed.
	Unjoined   uint64 `json:"unjoined"`
	JoinErrors uint64 `json:"join_errors"`
	// Messages are those that were answered or followed, by type.
	Messages map[string]uint64 `json:"messages,omitempty"`
	// Rejected are those that were not, by reason.
	Rejected map[string]uint64 `json:"rejected,omitempty"`
	// Opened and Closed count tunnels, Expired those of gateways that fell silent, Unreachable those that ICMP errors ended.
	Opened      uint64 `json:"opened"`
	Closed      uint64 `json:"closed"`
	Expired     uint64 `json:"expired"`
	Unreachable uint64 `json:"unreachable"`
	// Packets came from upstream, Copies and CopyOctets, with inner IP headers, went to gateways.
	Packets    uint64 `json:"packets"`
	Copies     uint64 `json:"copies"`
	CopyOctets uint64 `json:"copy_octets"`
	// Fragmented are packets that were cut for a tunnel.
	Fragmented uint64 `json:"fragmented"`
	// Dropped are packets and copies that went nowhere, by reason.
	Dropped map[string]uint64 `json:"dropped,omitempty"`

	Bridge *AMTBridge `json:"bridge,omitempty"`
}

// AMTBridge is what a bridge out of AMT does.
type AMTBridge struct {
	Interface string `json:"interface"`
	// Relay is the one in use.
	Relay    string `json:"relay,omitempty"`
	Channels uint64 `json:"channels"`
	// StandingBy are channels that somebody else sends now.
	StandingBy uint64 `json:"standing_by"`
	Packets    uint64 `json:"packets"`
	Octets     uint64 `json:"octets"`
	// Dropped are packets that were not bridged, by reason.
	Dropped map[string]uint64 `json:"dropped,omitempty"`
}

// ofAMT is a family of AMT relays.
func ofAMT(f family, each func(a *AMT, emit func(float64, ...string))) family {
	f.each = func(s *Status, emit func(float64, ...string)) {
		if s.AMT != nil && len(s.AMT.Listen) > 0 {
			each(s.AMT, emit)
		}
	}
	return f
}

// ofBridge is a family of bridges.
func ofBridge(f family, each func(b *AMTBridge, emit func(float64, ...string))) family {
	f.each = func(s *Status, emit func(float64, ...string)) {
		if s.AMT != nil && s.AMT.Bridge != nil {
			each(s.AMT.Bridge, emit)
		}
	}
	return f
}

func emitMap(m map[string]uint64, emit func(float64, ...string)) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		emit(float64(m[key]), key)
	}
}

func amtFamilies() []family {
	one := func(value func(*AMT) uint64) func(*AMT, func(float64, ...string)) {
		return func(a *AMT, emit func(float64, ...string)) { emit(float64(value(a))) }
	}
	oneOf := func(value func(*AMTBridge) uint64) func(*AMTBridge, func(float64, ...string)) {
		return func(b *AMTBridge, emit func(float64, ...string)) { emit(float64(value(b))) }
	}
	return []family{
		ofAMT(family{name: "treedn_amt_tunnels", help: "Gateways with a tunnel.", kind: gauge}, one(func(a *AMT) uint64 { return a.Tunnels })),
		ofAMT(family{name: "treedn_amt_tunnels_limit", help: "Most gateways that the relay takes.", kind: gauge}, one(func(a *AMT) uint64 { return a.MaxTunnels })),
		ofAMT(family{name: "treedn_amt_channels", help: "Channels, and groups as a whole, that gateways want.", kind: gauge}, one(func(a *AMT) uint64 { return a.Channels })),
		ofAMT(family{name: "treedn_amt_unjoined_channels", help: "Channels that gateways want and that cannot be joined upstream.", kind: gauge}, one(func(a *AMT) uint64 { return a.Unjoined })),
		ofAMT(family{name: "treedn_amt_join_errors_total", help: "Attempts to join a channel upstream that failed.", kind: counter}, one(func(a *AMT) uint64 { return a.JoinErrors })),
		ofAMT(family{name: "treedn_amt_draining", help: "1 while no new gateways are taken, else 0.", kind: gauge}, func(a *AMT, emit func(float64, ...string)) { emit(truth(a.Draining)) }),
		ofAMT(family{name: "treedn_amt_messages_total", help: "Messages answered or followed, by type: discovery, request, update or teardown.", kind: counter, labels: []string{"type"}},
			func(a *AMT, emit func(float64, ...string)) { emitMap(a.Messages, emit) }),
		ofAMT(family{name: "treedn_amt_rejected_messages_total", help: "Messages neither answered nor followed, or parts of them, by reason.", kind: counter, labels: []string{"reason"}},
			func(a *AMT, emit func(float64, ...string)) { emitMap(a.Rejected, emit) }),
		ofAMT(family{name: "treedn_amt_tunnels_opened_total", help: "Tunnels that came into being.", kind: counter}, one(func(a *AMT) uint64 { return a.Opened })),
		ofAMT(family{name: "treedn_amt_tunnels_closed_total", help: "Tunnels that ended.", kind: counter}, one(func(a *AMT) uint64 { return a.Closed })),
		ofAMT(family{name: "treedn_amt_tunnels_expired_total", help: "Tunnels that ended since their gateway fell silent.", kind: counter}, one(func(a *AMT) uint64 { return a.Expired })),
		ofAMT(family{name: "treedn_amt_tunnels_unreachable_total", help: "Tunnels that ended for ICMP errors.", kind: counter}, one(func(a *AMT) uint64 { return a.Unreachable })),
		ofAMT(family{name: "treedn_amt_packets_total", help: "Packets from upstream.", kind: counter}, one(func(a *AMT) uint64 { return a.Packets })),
		ofAMT(family{name: "treedn_amt_copies_total", help: "Packets sent to gateways.", kind: counter}, one(func(a *AMT) uint64 { return a.Copies })),
		ofAMT(family{name: "treedn_amt_copy_octets_total", help: "Octets of these, with the inner IP headers.", kind: counter}, one(func(a *AMT) uint64 { return a.CopyOctets })),
		ofAMT(family{name: "treedn_amt_fragmented_packets_total", help: "Packets that were cut for a tunnel.", kind: counter}, one(func(a *AMT) uint64 { return a.Fragmented })),
		ofAMT(family{name: "treedn_amt_dropped_packets_total", help: "Packets and copies that went nowhere, by reason.", kind: counter, labels: []string{"reason"}},
			func(a *AMT, emit func(float64, ...string)) { emitMap(a.Dropped, emit) }),

		ofBridge(family{name: "treedn_amt_bridge_standing_by", help: "Channels not bridged now, since somebody else sends them.", kind: gauge}, oneOf(func(b *AMTBridge) uint64 { return b.StandingBy })),
		ofBridge(family{name: "treedn_amt_bridge_packets_total", help: "Packets bridged.", kind: counter}, oneOf(func(b *AMTBridge) uint64 { return b.Packets })),
		ofBridge(family{name: "treedn_amt_bridge_octets_total", help: "Octets of these, with their IP headers.", kind: counter}, oneOf(func(b *AMTBridge) uint64 { return b.Octets })),
		ofBridge(family{name: "treedn_amt_bridge_dropped_packets_total", help: "Packets not bridged, by reason.", kind: counter, labels: []string{"reason"}},
			func(b *AMTBridge, emit func(float64, ...string)) { emitMap(b.Dropped, emit) }),
	}
}
