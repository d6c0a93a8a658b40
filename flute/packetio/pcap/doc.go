// Package pcap reads the UDP datagrams of a capture, in the formats pcap (draft-ietf-opsawg-pcap) and pcapng
// (draft-ietf-opsawg-pcapng), as Wireshark, tcpdump and the analysers of broadcasts write them.
//
// Frames of Ethernet, Linux "cooked" capture, PPP, BSD loopback and bare IP are understood, also with VLAN tags, MPLS
// labels or PPPoE; IPv4 and IPv6, also in tunnels of GRE or IP; and datagrams that were sent in fragments: tables of Low
// Level Signalling are. All else is counted and skipped. Captures may be compressed by gzip.
package pcap
