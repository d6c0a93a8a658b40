// Package pcap reads the UDP datagrams of a capture, in the formats pcap (draft-ietf-opsawg-pcap) and pcapng
// (draft-ietf-opsawg-pcapng), as Wireshark, tcpdump and the analysers of broadcasts write them.
//
// Frames of Ethernet (also with VLAN tags), Linux "cooked" capture, BSD loopback and bare IP are understood, IPv4 and
// IPv6, and datagrams that were sent in fragments: tables of Low Level Signalling are. All else is counted and skipped.
package pcap
