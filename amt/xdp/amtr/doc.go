// Package amtr tracks the tunnels of an AMT relay (RFC 7450) from outside, by the
// messages that pass the host: those of the relay in the Linux kernel, which
// tells nobody what tunnels it has, or of any other.
//
//	tracker, err := amtr.Open(amtr.Config{Interfaces: []string{"eth0"}})
//	...
//	defer tracker.Close()
//	for e := range tracker.Events() {
//		fmt.Println(e.Time, e.Type, e.Gateway)
//	}
//
// There are two trackers with one interface. That of [MethodBPF] has programs in
// the kernel, XDP for what arrives and tc for what leaves, which count the
// messages and octets of each gateway there and tell of messages through a ring
// buffer; of Multicast Data they tell only when it begins. That of [MethodSocket]
// reads the headers of all messages from packet sockets, for places where BPF is
// not allowed: it needs CAP_NET_RAW only, and a processor for a few hundred
// thousand messages a second. Neither changes or delays a message.
//
// # What can be believed
//
// A tracker sees what is sent, not what the relay makes of it. It cannot verify
// the MAC of an Update or of a Teardown, and anybody can send either with
// somebody else's address. Only Multicast Data proves that the relay has a
// tunnel. So what is kept is bounded, gateways without a tunnel are forgotten
// first, and EventUp after an Update is a claim until EventData follows.
//
// Fragments are counted and not put together: AMT messages to and from a relay
// are not to be fragmented (RFC 7450 section 5.3.3.6.3).
//
// The programs in the kernel need Linux 5.18, CAP_BPF and CAP_NET_ADMIN, and on
// older kernels, 6.1 for one, CAP_PERFMON. Their licence is that of the rest,
// Apache-2.0.
package amtr
